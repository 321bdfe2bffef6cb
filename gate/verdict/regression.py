"""A new measurement against a recorded one: regressed, maintained, improved or undecided, by the whole interval.

Where both timed a candidate beside SDPA, what is compared is the ratio to SDPA, so that a new driver or a warmer day,
which moves both, does not look like a faster kernel. Otherwise times are compared across sessions, which is weaker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from gate.analysis.comparison import compare, fastest, same_device
from gate.errors import BadInputError
from gate.records import (
    BASELINE,
    CANDIDATE,
    EMPTY,
    SCHEMA_VERSION,
    Estimate,
    Evaluation,
    Measurement,
    Outcome,
    Policy,
    Record,
    Status,
    Trial,
    Workload,
)
from gate.stats.interval import Array, log_ratios, welch_ratio
from gate.stats.multiplicity import holm
from gate.stats.two_sample import cliffs_delta
from gate.verdict.gate_trust import clocks_gate, machine_gate, witness_doubt, witness_evidence, witness_gate
from gate.verdict.gates import unfit_workloads


class Answer(StrEnum):
    """Where the interval lies. The order is that of precedence over workloads."""

    REGRESSED = "regressed"
    UNDECIDED = "undecided"
    MAINTAINED = "maintained"
    IMPROVED = "improved"


EXIT_CODES = {Answer.REGRESSED: 1, Answer.UNDECIDED: 2, Answer.MAINTAINED: 0, Answer.IMPROVED: 0}


@dataclass(frozen=True, slots=True)
class Change(Record):
    """New time over recorded time on one workload; `subject` says of what."""

    workload: Workload
    answer: Answer
    subject: str
    ratio: Estimate | None = None
    cliffs_delta: float | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Changes(Record):
    """All of a measurement against a recorded one, and what they come to."""

    answer: Answer
    changes: tuple[Change, ...]
    kind: Literal["changes"] = "changes"
    schema_version: Literal[1] = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class _Sides:
    """One logarithm a replicate, of the same thing measured twice, and what else differs between the two."""

    subject: str
    new: Array
    recorded: Array
    session_sd: float


def changes(new: Measurement, recorded: Measurement, policy: Policy) -> tuple[Change, ...]:
    """One change for each recorded workload, or where SDPA's backends were recorded, for each of them.

    Any regression blocks, so the family-wise error of regressions is held by Holm. Raises BadInputError where the two
    are of different devices, or of different candidates.
    """
    same_device(new, recorded)
    _same_candidate(new, recorded)
    found = {evaluation.workload: evaluation for evaluation in new.evaluations}
    pairs = [
        (old.workload, sides)
        for old in recorded.evaluations
        for sides in _sides(found.get(old.workload), old, policy)
    ]
    alarms = _alarms([sides for _, sides in pairs if isinstance(sides, _Sides)], policy)
    return tuple(_changes(pairs, alarms, policy))


def _same_candidate(new: Measurement, recorded: Measurement) -> None:
    """A candidate against SDPA's own record is another question, and may be asked."""
    if new.impl != recorded.impl and None not in (new.impl, recorded.impl):
        raise BadInputError(f"of {new.impl} and of {recorded.impl}: not comparable; measure the same candidate")


def overall(seen: tuple[Change, ...]) -> Answer:
    """The answer over workloads: one regression is a regression, and one doubt leaves doubt."""
    return min((change.answer for change in seen), key=list(Answer).index, default=Answer.UNDECIDED)


def _changes(pairs: list[tuple[Workload, _Sides | str]], alarms: Iterator[bool], policy: Policy) -> Iterator[Change]:
    for workload, sides in pairs:
        if isinstance(sides, str):
            yield Change(workload, Answer.UNDECIDED, "nothing", evidence=sides)
        else:
            yield _change(workload, sides, next(alarms), policy)


def _sides(new: Evaluation | None, old: Evaluation, policy: Policy) -> list[_Sides | str]:
    """What the two have in common, or why there is nothing."""
    refusal = _refusal(new, policy)
    if new is None or refusal:
        return [refusal]
    if doubt := _doubt(old, policy):
        return [f"recorded so that it cannot be believed: {doubt}"]
    ours, theirs = _subject(new), _subject(old)
    if ours is None or theirs is None or not (ours.status is Status.OK and theirs.status is Status.OK):
        return ["not timed on both sides"]
    if ours.has(CANDIDATE, BASELINE) and theirs.has(CANDIDATE, BASELINE):
        return [_ratios(ours, theirs, policy)]
    if ours.has(CANDIDATE) or theirs.has(CANDIDATE):
        return [_times(ours, theirs, _main_arm(ours), _main_arm(theirs), policy)]
    return [
        _times(ours, theirs, arm, arm, policy) if ours.has(arm) else f"{arm} was recorded, and is not there now"
        for arm in (arm.name for arm in theirs.arms if arm.name != EMPTY)
    ]


def _refusal(new: Evaluation | None, policy: Policy) -> str:
    """Why nothing can be said by the new evidence; empty where something can."""
    if new is None:
        return "recorded, and not measured now"
    if new.correctness is not None and new.correctness.status is not Status.OK:
        return f"{new.correctness.status} now: {new.correctness.message}"
    return _doubt(new, policy)


def _doubt(seen: Evaluation, policy: Policy) -> str:
    """Why evidence is not to be believed, as in a verdict against SDPA; empty where it is."""
    comparison = compare(seen, policy)
    gates = [machine_gate(seen, policy, None), clocks_gate(seen, policy)]
    gates += [witness_gate(seen, comparison, policy)] if seen.witness else []
    doubts = [f"{gate.name}: {gate.evidence}" for gate in gates if gate and gate.outcome is not Outcome.PASS]
    if (
        comparison and seen.witness and seen.witness.status is Status.OK
    ):  # here a slow candidate may lie to seem the same
        doubt = witness_doubt(seen.witness, comparison, policy)
        doubts += [f"witness: {doubt}: {witness_evidence(seen.witness, comparison)}"] if doubt else []
    if comparison and unfit_workloads([comparison], policy):
        doubts.append("control: the baseline differs from itself")
    return doubts[0] if doubts else ""


def _main_arm(trial: Trial) -> str:
    return CANDIDATE if trial.has(CANDIDATE) else fastest(trial)


def _subject(evaluation: Evaluation) -> Trial | None:
    """A candidate's own trial, and never SDPA's in its place; SDPA's where no candidate was there."""
    return evaluation.sdpa if evaluation.correctness is None and evaluation.trial is None else evaluation.trial


def _ratios(ours: Trial, theirs: Trial, policy: Policy) -> _Sides | str:
    backends = ours.implementation(BASELINE), theirs.implementation(BASELINE)
    if backends[0] != backends[1]:
        return f"timed against {backends[0]}, recorded against {backends[1]}; measure with --baseline of the record"
    logs = [log_ratios(trial.samples(CANDIDATE), trial.samples(BASELINE)) for trial in (ours, theirs)]
    subject = f"{ours.implementation(CANDIDATE)} relative to {backends[0]}"
    return _Sides(subject, logs[0], logs[1], policy.ratio_session_sd)


def _times(ours: Trial, theirs: Trial, arm: str, recorded_arm: str, policy: Policy) -> _Sides:
    logs = [np.log([np.median(rounds) for rounds in t.samples(a)]) for t, a in ((ours, arm), (theirs, recorded_arm))]
    subject = f"time of {ours.implementation(arm)} against {theirs.implementation(recorded_arm)}, across sessions"
    return _Sides(subject, logs[0], logs[1], policy.session_sd)


def _alarms(every: list[_Sides], policy: Policy) -> Iterator[bool]:
    """Which regressions stand after Holm: the hypothesis is that the new time is at most 1 + margin of the old."""
    beyond = [_estimate(sides, policy, shift=math.log1p(policy.margin)) for sides in every]
    p_values = [
        estimate.p_value
        if estimate.p_value is not None and estimate.point > 1
        else 1.0  # on the other side: no alarm
        for estimate in beyond
    ]
    return iter(holm(p_values, policy.alpha))


def _estimate(sides: _Sides, policy: Policy, shift: float = 0.0) -> Estimate:
    return welch_ratio(sides.new - shift, sides.recorded, policy.alpha, sides.session_sd, policy.min_replicates)


def _change(workload: Workload, sides: _Sides, alarm: bool, policy: Policy) -> Change:
    ratio, delta = _estimate(sides, policy), cliffs_delta(sides.recorded, sides.new)
    answer = _answer(ratio, delta, alarm, policy)
    evidence = f"{ratio}, Cliff's delta {delta:+.2f}"
    return Change(workload, answer, sides.subject, ratio, round(delta, 9), evidence)


def _answer(ratio: Estimate, delta: float, alarm: bool, policy: Policy) -> Answer:
    slowest, fastest_kept = 1 + policy.margin, 1 - policy.improvement
    if ratio.low is None or ratio.high is None:
        return Answer.UNDECIDED
    if ratio.low > slowest:
        return Answer.REGRESSED if alarm else Answer.UNDECIDED
    if ratio.high < fastest_kept:
        return Answer.IMPROVED if abs(delta) >= policy.cliffs_delta else Answer.UNDECIDED
    return Answer.MAINTAINED if fastest_kept <= ratio.low and ratio.high <= slowest else Answer.UNDECIDED
