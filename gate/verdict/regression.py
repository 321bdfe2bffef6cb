"""Compares a new measurement with a recorded one: regressed, maintained, improved or undecided, by the interval.

If both timed a candidate and SDPA in one trial, the ratios to SDPA are compared: a new driver or a warmer GPU changes
both times and cancels out. Otherwise times are compared across sessions, which is weaker evidence.
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
    SchemaVersion,
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
    """Position of the interval. If workloads differ, the first of these wins."""

    REGRESSED = "regressed"
    UNDECIDED = "undecided"
    MAINTAINED = "maintained"
    IMPROVED = "improved"


EXIT_CODES = {Answer.REGRESSED: 1, Answer.UNDECIDED: 2, Answer.MAINTAINED: 0, Answer.IMPROVED: 0}


@dataclass(frozen=True, slots=True)
class Change(Record):
    """New time over recorded time on one workload; `subject` names what was timed."""

    workload: Workload
    answer: Answer
    subject: str
    ratio: Estimate | None = None
    cliffs_delta: float | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Changes(Record):
    """The changes of all workloads, and the overall answer."""

    answer: Answer
    changes: tuple[Change, ...]
    kind: Literal["changes"] = "changes"
    schema_version: SchemaVersion = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class _Sides:
    """Log-ratios or log-times of both measurements, one for each replicate, and the deviation between sessions."""

    subject: str
    new: Array
    recorded: Array
    session_sd: float


def changes(new: Measurement, recorded: Measurement, policy: Policy) -> tuple[Change, ...]:
    """One change for each recorded workload; if SDPA's backends were recorded, one for each backend.

    Any regression blocks; therefore Holm's method limits the family-wise error rate. Raises BadInputError if the
    measurements are of different devices or of different candidates.
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
    """Raises BadInputError for two different candidates; a candidate may be compared with SDPA's record."""
    if new.impl != recorded.impl and None not in (new.impl, recorded.impl):
        raise BadInputError(
            f"cannot compare candidate {new.impl} with candidate {recorded.impl}; measure the same candidate"
        )


def overall(changes: tuple[Change, ...]) -> Answer:
    """The answer over all workloads: any regression is a regression; else any undecided workload is undecided."""
    return min((change.answer for change in changes), key=list(Answer).index, default=Answer.UNDECIDED)


def _changes(pairs: list[tuple[Workload, _Sides | str]], alarms: Iterator[bool], policy: Policy) -> Iterator[Change]:
    for workload, sides in pairs:
        if isinstance(sides, str):
            yield Change(workload, Answer.UNDECIDED, "nothing", evidence=sides)
        else:
            yield _change(workload, sides, next(alarms), policy)


def _sides(new: Evaluation | None, old: Evaluation, policy: Policy) -> list[_Sides | str]:
    """The pairs to compare on one workload, or why there are none."""
    refusal = _refusal(new, policy)
    if new is None or refusal:
        return [refusal]
    if doubt := _doubt(old, policy):
        return [f"the recorded measurement is not reliable: {doubt}"]
    ours, theirs = _subject(new), _subject(old)
    if ours is None or theirs is None or not (ours.status is Status.OK and theirs.status is Status.OK):
        return ["not timed in both measurements"]
    if ours.has(CANDIDATE, BASELINE) and theirs.has(CANDIDATE, BASELINE):
        return [_ratios(ours, theirs, policy)]
    if ours.has(CANDIDATE) or theirs.has(CANDIDATE):
        return [_times(ours, theirs, _main_arm(ours), _main_arm(theirs), policy)]
    return [
        _times(ours, theirs, arm, arm, policy) if ours.has(arm) else f"{arm} is recorded, but missing now"
        for arm in (arm.name for arm in theirs.arms if arm.name != EMPTY)
    ]


def _refusal(new: Evaluation | None, policy: Policy) -> str:
    """Why the new evidence cannot be compared; empty if it can."""
    if new is None:
        return "recorded, but not measured now"
    if new.correctness is not None and new.correctness.status is not Status.OK:
        return f"{new.correctness.status} now: {new.correctness.message}"
    return _doubt(new, policy)


def _doubt(evaluation: Evaluation, policy: Policy) -> str:
    """Why the evidence is not reliable, by the gates of a verdict against SDPA; empty if it is reliable."""
    comparison, witness = compare(evaluation, policy), evaluation.witness
    gates = [machine_gate(evaluation, policy, None), clocks_gate(evaluation, policy)]
    gates += [witness_gate(evaluation, comparison, policy)] if witness else []
    doubts = [f"{gate.name}: {gate.evidence}" for gate in gates if gate and gate.outcome is not Outcome.PASS]
    if comparison and witness and witness.status is Status.OK:  # a slow candidate gains by a forged time here
        doubt = witness_doubt(witness, comparison, policy)
        doubts += [f"witness: {doubt}: {witness_evidence(witness, comparison)}"] if doubt else []
    if comparison and unfit_workloads([comparison], policy):
        doubts.append("control: the baseline differs from itself")
    return doubts[0] if doubts else ""


def _main_arm(trial: Trial) -> str:
    return CANDIDATE if trial.has(CANDIDATE) else fastest(trial)


def _subject(evaluation: Evaluation) -> Trial | None:
    """The candidate's trial if there is a candidate, even a failed one; otherwise SDPA's trial."""
    return evaluation.sdpa if evaluation.correctness is None and evaluation.trial is None else evaluation.trial


def _ratios(ours: Trial, theirs: Trial, policy: Policy) -> _Sides | str:
    backends = ours.implementation(BASELINE), theirs.implementation(BASELINE)
    if backends[0] != backends[1]:
        return f"timed against {backends[0]}, recorded against {backends[1]}; measure with the recorded --baseline"
    logs = [log_ratios(trial.samples(CANDIDATE), trial.samples(BASELINE)) for trial in (ours, theirs)]
    subject = f"{ours.implementation(CANDIDATE)} relative to {backends[0]}"
    return _Sides(subject, logs[0], logs[1], policy.ratio_session_sd)


def _times(ours: Trial, theirs: Trial, arm: str, recorded_arm: str, policy: Policy) -> _Sides:
    logs = [np.log([np.median(rounds) for rounds in t.samples(a)]) for t, a in ((ours, arm), (theirs, recorded_arm))]
    subject = f"time of {ours.implementation(arm)} against {theirs.implementation(recorded_arm)}, across sessions"
    return _Sides(subject, logs[0], logs[1], policy.session_sd)


def _alarms(every: list[_Sides], policy: Policy) -> Iterator[bool]:
    """Which regressions remain after Holm's method. Null hypothesis: new time <= (1 + margin) × recorded time."""
    beyond = [_estimate(sides, policy, shift=math.log1p(policy.margin)) for sides in every]
    p_values = [
        estimate.p_value if estimate.p_value is not None and estimate.point > 1 else 1.0  # below the margin: no alarm
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
