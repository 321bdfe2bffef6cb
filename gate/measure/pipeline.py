"""The whole way from a request to the evidence: stage after stage, each over all workloads."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from gate.analysis.comparison import chosen_backends, compare, fastest, is_clear
from gate.analysis.provenance import sdpa_kernel_used
from gate.build.prepare import environment_of, prepare_candidate, source_of
from gate.candidates.registry import Candidate
from gate.check.request import check_cases
from gate.measure.trial import DisturbanceMonitor, candidate_arms, replicate_request, sdpa_arms, take_trials
from gate.profiling.collect import open_profiler
from gate.profiling.ncu import Options
from gate.profiling.stage import profile_evaluations
from gate.profiling.trace_request import trace_implementations
from gate.records import EMPTY, Build, Case, Environment, Evaluation, Measurement, Outcome, Status, Trial, Workload
from gate.records.sdpa import BEST, PREFIX
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import ReplicateRequest
from gate.session import Session
from gate.verdict.gates import build_gates
from gate.witness.coordinator import seconds_of, witness, witness_batch_of

WITNESS_S = 120.0


def measure_candidate(
    session: Session, candidate: Candidate, workloads: tuple[Workload, ...], *, counters: int | None = 0
) -> Measurement:
    """Builds, checks and times a candidate on each workload; what fails is recorded, and what follows it absent.

    Hardware counters are read beside on so many workloads (None: on all), or why they were not.
    """
    backends = session.backends(session.settings.measure.baseline)
    session.witness.start()
    environment, built = prepare_candidate(session, candidate)
    evaluations: list[Evaluation] = []
    if all(gate.outcome is Outcome.PASS for gate in build_gates(built, session.settings.gates)):
        source = source_of(candidate, built)
        traced = _trace_sdpa(session, session.witness, workloads, backends)  # before a candidate could disturb it
        checked = _check(session, candidate, source, traced)
        evaluations = _timed(session, candidate, source, _trace_candidate(session, candidate, source, checked))
    if counters != 0 and evaluations:
        evaluations = _profile(session, candidate, built, evaluations, counters)
    return _measurement(session, environment, workloads, candidate, built, evaluations)


def _profile(
    session: Session, candidate: Candidate, built: Build, evaluations: list[Evaluation], most: int | None
) -> list[Evaluation]:
    session.progress("profile", 0, 1)
    opened = partial(open_profiler, session.server, session.settings.limits.profile_s, Options())
    with session.stage("profile"):
        return profile_evaluations(session.settings, candidate, built, evaluations, most, opened)


def measure_sdpa(session: Session, wanted: str, workloads: tuple[Workload, ...]) -> Measurement:
    """SDPA's backends against one another, interleaved; as many replicates as the budget allows."""
    backends, measure = session.backends(wanted), session.settings.measure
    environment = environment_of(session)
    traced = _trace_sdpa(session, session.server, workloads, backends)
    seen = _time_sdpa(session, traced, measure.looks[-1], measure.rounds, "time SDPA")
    return _measurement(session, environment, workloads, evaluations=seen)


def _measurement(
    session: Session,
    environment: Environment,
    workloads: tuple[Workload, ...],
    candidate: Candidate | None = None,
    built: Build | None = None,
    evaluations: Sequence[Evaluation] = (),
) -> Measurement:
    seconds = dict(session.seconds)
    if candidate is None or built is None:
        return Measurement(environment, workloads, evaluations=tuple(evaluations), seconds=seconds)
    chosen = replace(environment, sdpa_backend=chosen_backends(evaluations))
    asked, made = session.settings.measure.baseline, built.as_evidence()
    return Measurement(chosen, workloads, candidate.name, made, tuple(evaluations), seconds, asked)


def _check(session: Session, candidate: Candidate, source: str, traced: Sequence[Evaluation]) -> list[Evaluation]:
    """With the candidate's check. What is not right needs no traces."""
    seen = check_cases(session, candidate, source, {Case(each.workload): secrets.randbits(62) for each in traced})
    return [
        replace(each, correctness=answer) if answer.status is Status.OK else Evaluation(each.workload, answer)
        for each, answer in zip(traced, seen, strict=True)
    ]


def _sound(evaluation: Evaluation) -> bool:
    return evaluation.correctness is not None and evaluation.correctness.status is Status.OK


def _trace_candidate(
    session: Session, candidate: Candidate, source: str, checked: Sequence[Evaluation]
) -> list[Evaluation]:
    """With the candidate's traces, wherever it is right."""
    asked = [(each.workload, (candidate.name,)) for each in checked if _sound(each)]
    with session.stage("trace"):
        seen = iter(trace_implementations(session.server, session.device, asked, source))
    return [replace(each, traces=(*each.traces, *next(seen))) if _sound(each) else each for each in checked]


def _timed(session: Session, candidate: Candidate, source: str, traced: list[Evaluation]) -> list[Evaluation]:
    """Those that are right with their trials; none is timed of a candidate that is seen to run SDPA's own kernels."""
    if any(sdpa_kernel_used(each, candidate.name) for each in traced):
        return traced
    sound = [each for each in traced if _sound(each)]
    timed = iter(_time(session, candidate, source, _choose_baselines(session, sound)))
    return [next(timed) if _sound(each) else each for each in traced]


def _choose_baselines(session: Session, traced: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """For `best`, a short trial of the backends."""
    measure = session.settings.measure
    if measure.baseline != BEST:
        return traced
    return _time_sdpa(session, traced, measure.selection_replicates, measure.selection_rounds, "choose baseline")


def _trace_sdpa(
    session: Session, server: WorkerServer, workloads: Sequence[Workload], backends: tuple[str, ...]
) -> list[Evaluation]:
    names = tuple(PREFIX + backend for backend in backends)
    session.progress("trace SDPA", 0, 1)
    with session.stage("trace"):
        seen = trace_implementations(server, session.device, [(each, names) for each in workloads])
    return [Evaluation(each, traces=traces) for each, traces in zip(workloads, seen, strict=True)]


def _time_sdpa(
    session: Session, traced: Sequence[Evaluation], replicates: int, rounds: int, stage: str
) -> list[Evaluation]:
    """Of each workload, the backends that can compute it, timed against one another."""
    plans = {
        number: replace(_sdpa_plan(session, each), rounds=rounds) for number, each in enumerate(traced) if _able(each)
    }
    trials = _trials(session, stage, [*plans.values()], (replicates,), lambda *_: True)
    found = dict(zip(plans, trials, strict=True))
    return [replace(each, sdpa=found.get(number)) for number, each in enumerate(traced)]


def _able(evaluation: Evaluation) -> list[str]:
    """The backends that were seen to compute the workload."""
    able = [each.implementation for each in evaluation.traces if not each.refusal]
    return [name.removeprefix(PREFIX) for name in able if name.startswith(PREFIX)]


def _sdpa_plan(session: Session, evaluation: Evaluation) -> ReplicateRequest:
    return replicate_request(evaluation.workload, sdpa_arms(_able(evaluation)), session.settings, session.device)


def _time(session: Session, candidate: Candidate, source: str, opposed: Sequence[Evaluation]) -> list[Evaluation]:
    """The candidate against its baseline, wherever there is one."""
    baselines = [_baseline_of(session, each) for each in opposed]
    able = [each for each, backend in zip(opposed, baselines, strict=True) if backend]
    plans = [
        _candidate_plan(session, candidate, source, each, backend)
        for each, backend in zip(able, filter(None, baselines), strict=True)
    ]
    policy, so_far = session.settings.gates, {each.workload: each for each in able}

    def clear(trial: Trial, workload: Workload) -> bool:
        return is_clear(compare(replace(so_far[workload], trial=trial), policy), policy)

    trials = _trials(session, "time", plans, session.settings.measure.looks, clear)
    timed = [replace(each, trial=trial) for each, trial in zip(able, trials, strict=True)]
    seen = {each.workload: each for each in _witness(session, candidate, source, timed)}
    return [seen.get(each.workload, each) for each in opposed]


def _witness(session: Session, candidate: Candidate, source: str, timed: list[Evaluation]) -> list[Evaluation]:
    """What the witness saw of each workload that was timed."""
    witness_batches = [
        (each, witness_batch) for each in timed if (witness_batch := witness_batch_of(each, session.device))
    ]
    wanted, limit_s = (
        [witness_batch for _, witness_batch in witness_batches],
        WITNESS_S + sum(seconds_of(*pair) for pair in witness_batches),
    )
    session.progress("witness", 0, 1)
    with session.stage("witness"):
        seen = witness(session.witness, session.server, session.device, candidate.name, source, wanted, limit_s)
    found = {witness_batch.workload: each for witness_batch, each in zip(wanted, seen, strict=True)}
    return [replace(each, witness=found.get(each.workload)) for each in timed]


def _candidate_plan(
    session: Session, candidate: Candidate, source: str, seen: Evaluation, backend: str
) -> ReplicateRequest:
    arms = candidate_arms(candidate.name, backend)
    error = seen.correctness.sdpa_max_abs_err if seen.correctness else None
    call_ms = seen.correctness.call_ms if seen.correctness else None
    return replicate_request(
        seen.workload, arms, session.settings, session.device, source=source, sdpa_max_abs_err=error, call_ms=call_ms
    )


def _baseline_of(session: Session, chosen: Evaluation) -> str | None:
    """The backend to beat, or None where none can compute the workload."""
    wanted = session.settings.measure.baseline
    if wanted != BEST:
        return None if chosen.traces[0].refusal else wanted
    return fastest(chosen.sdpa) if chosen.sdpa is not None and chosen.sdpa.status is Status.OK else None


def _trials(
    session: Session,
    stage: str,
    plans: list[ReplicateRequest],
    looks: tuple[int, ...],
    clear: Callable[[Trial, Workload], bool],
) -> list[Trial]:
    arms = ", ".join(dict.fromkeys(arm for plan in plans for arm in plan.arms if arm != EMPTY))
    label = f"{stage}: {len(plans)} workloads ({arms})"

    def progress(done: int) -> None:
        session.progress(label, done, looks[-1])

    watch = DisturbanceMonitor(session.read_telemetry, session.settings.measure.repeats)
    with session.stage(stage):
        return take_trials(session.server, plans, looks, session.settings.limits.replicate_s, clear, progress, watch)
