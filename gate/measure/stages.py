"""The stages of measuring. Each takes the evaluations of all workloads, and returns them all with its evidence added.

A stage selects the workloads that are still eligible and handles them in one batch, because the start of a process
costs more than most of what it does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from gate.analysis.comparison import compare, fastest, is_clear
from gate.build.prepare import source_of
from gate.candidates.registry import Candidate
from gate.check.request import check_cases
from gate.measure.trial import DisturbanceMonitor, candidate_arms, replicate_request, sdpa_arms, take_trials
from gate.profiling.collect import open_profiler
from gate.profiling.ncu import Options
from gate.profiling.stage import profile_evaluations
from gate.profiling.trace_request import trace_implementations
from gate.records import EMPTY, Build, Case, Correctness, Evaluation, Status, Trace, Trial, Witness, Workload
from gate.records.sdpa import BEST, PREFIX
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import ReplicateRequest
from gate.session import Session
from gate.witness.coordinator import seconds_of, witness, witness_batch_of
from gate.witness.protocol import WitnessBatch

WITNESS_S = 120.0
"""The witness's time limit, beside the time of its batches."""

Evaluations = Mapping[Workload, Evaluation]
"""The evidence on each workload so far, in the order in which the workloads were asked for."""
Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Subject:
    """The candidate under test, as it was built, and the session that measures it."""

    session: Session
    candidate: Candidate
    build: Build

    @property
    def source(self) -> str:
        """The file that the candidate's process loads."""
        return source_of(self.candidate, self.build)


def begin(workloads: Sequence[Workload]) -> Evaluations:
    """Evaluations without evidence."""
    return {workload: Evaluation(workload) for workload in workloads}


def extend(
    evaluations: Evaluations,
    requests: Mapping[Workload, Request],
    answer_all: Callable[[list[Request]], Sequence[Answer]],
    merge: Callable[[Evaluation, Answer], Evaluation],
) -> Evaluations:
    """Gets all answers in one batch, and merges each into its workload's evaluation; the others stay as they are."""
    if not requests:
        return evaluations
    answers = zip(requests, answer_all(list(requests.values())), strict=True)
    return {**evaluations, **{workload: merge(evaluations[workload], answer) for workload, answer in answers}}


def trace_sdpa(
    session: Session, server: WorkerServer, backends: tuple[str, ...], evaluations: Evaluations
) -> Evaluations:
    """Adds the kernels of SDPA's backends, or why a backend cannot compute the workload."""
    session.progress("trace SDPA", 0, 1)
    names = tuple(PREFIX + backend for backend in backends)
    return _trace(session, server, names, None, evaluations, list(evaluations))


def check(subject: Subject, evaluations: Evaluations) -> Evaluations:
    """Adds the candidate's correctness. A workload on which it is not correct keeps that alone."""

    def answer_all(workloads: list[Workload]) -> list[Correctness]:
        cases = {Case(workload): secrets.randbits(62) for workload in workloads}
        return check_cases(subject.session, subject.candidate, subject.source, cases)

    def merge(evaluation: Evaluation, correctness: Correctness) -> Evaluation:
        correct = correctness.status is Status.OK
        return replace(evaluation if correct else Evaluation(evaluation.workload), correctness=correctness)

    return extend(evaluations, {workload: workload for workload in evaluations}, answer_all, merge)


def _is_correct(evaluation: Evaluation) -> bool:
    return evaluation.correctness is not None and evaluation.correctness.status is Status.OK


def trace_candidate(subject: Subject, evaluations: Evaluations) -> Evaluations:
    """Adds the candidate's kernels where it is correct."""
    correct = [workload for workload, evaluation in evaluations.items() if _is_correct(evaluation)]
    session, names = subject.session, (subject.candidate.name,)
    return _trace(session, session.server, names, subject.source, evaluations, correct)


def _trace(
    session: Session,
    server: WorkerServer,
    names: tuple[str, ...],
    source: str | None,
    evaluations: Evaluations,
    eligible: Sequence[Workload],
) -> Evaluations:
    def answer_all(workloads: list[Workload]) -> list[tuple[Trace, ...]]:
        with session.stage("trace"):
            return trace_implementations(server, session.device, names, workloads, source)

    def merge(evaluation: Evaluation, traces: tuple[Trace, ...]) -> Evaluation:
        return replace(evaluation, traces=(*evaluation.traces, *traces))

    return extend(evaluations, {workload: workload for workload in eligible}, answer_all, merge)


def choose_baseline(session: Session, evaluations: Evaluations) -> Evaluations:
    """Adds a short trial of SDPA's backends, if the baseline is to be the best of them."""
    measure = session.settings.measure
    if measure.baseline != BEST:
        return evaluations
    return time_sdpa(session, "choose baseline", measure.selection_replicates, measure.selection_rounds, evaluations)


def time_sdpa(session: Session, stage: str, replicates: int, rounds: int, evaluations: Evaluations) -> Evaluations:
    """Adds a trial of the backends that can compute the workload, timed against one another."""
    requests = {
        workload: replace(_sdpa_request(session, workload, backends), rounds=rounds)
        for workload, evaluation in evaluations.items()
        if (backends := _able_backends(evaluation))
    }
    answer_all = partial(_take_trials, session, stage, (replicates,), lambda *_: True)
    return extend(evaluations, requests, answer_all, lambda evaluation, trial: replace(evaluation, sdpa=trial))


def _able_backends(evaluation: Evaluation) -> list[str]:
    """The backends whose trace shows that they can compute the workload."""
    able = [trace.implementation for trace in evaluation.traces if not trace.refusal]
    return [name.removeprefix(PREFIX) for name in able if name.startswith(PREFIX)]


def _sdpa_request(session: Session, workload: Workload, backends: list[str]) -> ReplicateRequest:
    return replicate_request(workload, sdpa_arms(backends), session.settings, session.device)


def time_candidate(subject: Subject, evaluations: Evaluations) -> Evaluations:
    """Adds the trial of candidate and baseline where the candidate is correct and there is a baseline."""
    session = subject.session
    policy, interim_replicates = session.settings.gates, session.settings.measure.interim_replicates
    requests = {
        workload: _candidate_request(subject, evaluation, backend)
        for workload, evaluation in evaluations.items()
        if _is_correct(evaluation) and (backend := _baseline_of(session, evaluation))
    }

    def is_answered(trial: Trial, workload: Workload) -> bool:
        return is_clear(compare(replace(evaluations[workload], trial=trial), policy), policy)

    answer_all = partial(_take_trials, session, "time", interim_replicates, is_answered)
    return extend(evaluations, requests, answer_all, lambda evaluation, trial: replace(evaluation, trial=trial))


def _baseline_of(session: Session, evaluation: Evaluation) -> str | None:
    """The backend to beat; None if no backend can compute the workload."""
    wanted = session.settings.measure.baseline
    if wanted != BEST:
        return None if evaluation.traces[0].refusal else wanted
    return fastest(evaluation.sdpa) if evaluation.sdpa is not None and evaluation.sdpa.status is Status.OK else None


def _candidate_request(subject: Subject, evaluation: Evaluation, backend: str) -> ReplicateRequest:
    correctness = evaluation.correctness
    return replicate_request(
        evaluation.workload,
        candidate_arms(subject.candidate.name, backend),
        subject.session.settings,
        subject.session.device,
        source=subject.source,
        sdpa_max_abs_err=correctness.sdpa_max_abs_err if correctness else None,
        call_ms=correctness.call_ms if correctness else None,
    )


def _take_trials(
    session: Session,
    stage: str,
    interim_replicates: tuple[int, ...],
    is_answered: Callable[[Trial, Workload], bool],
    requests: list[ReplicateRequest],
) -> list[Trial]:
    arms = ", ".join(dict.fromkeys(arm for request in requests for arm in request.arms if arm != EMPTY))
    label = f"{stage}: {len(requests)} workloads ({arms})"

    def progress(done: int) -> None:
        session.progress(label, done, interim_replicates[-1])

    monitor = DisturbanceMonitor(session.read_telemetry, session.settings.measure.max_retries)
    limit_s = session.settings.limits.replicate_s
    with session.stage(stage):
        return take_trials(session.server, requests, interim_replicates, limit_s, is_answered, progress, monitor)


def witness_candidate(subject: Subject, evaluations: Evaluations) -> Evaluations:
    """Adds the times by a second clock, in a process that no candidate runs in, where the candidate was timed."""
    session = subject.session
    batches = {
        workload: batch
        for workload, evaluation in evaluations.items()
        if (batch := witness_batch_of(evaluation, session.device))
    }
    limit_s = WITNESS_S + sum(seconds_of(evaluations[workload], batch) for workload, batch in batches.items())

    def answer_all(batches: list[WitnessBatch]) -> list[Witness]:
        session.progress("witness", 0, 1)
        with session.stage("witness"):
            return witness(
                session.witness, session.server, session.device, subject.candidate.name, subject.source, batches,
                limit_s,
            )  # fmt: skip

    return extend(evaluations, batches, answer_all, lambda evaluation, answer: replace(evaluation, witness=answer))


def profile(subject: Subject, counters: int | None, evaluations: Evaluations) -> Evaluations:
    """Adds hardware counters on so many of the workloads that were timed; None means all of them."""
    if counters == 0:
        return evaluations
    session = subject.session
    session.progress("profile", 0, 1)
    opened = partial(open_profiler, session.server, session.settings.limits.profile_s, Options())
    timed = list(evaluations.values())
    with session.stage("profile"):
        profiled = profile_evaluations(session.settings, subject.candidate, subject.build, timed, counters, opened)
    return {evaluation.workload: evaluation for evaluation in profiled}
