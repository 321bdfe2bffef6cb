"""The whole way from a request to the evidence: stage after stage, each over all workloads."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from gate.asking import check_candidate, describe_environment, trace_implementations
from gate.build import build
from gate.compare import chosen_backends, compare, fastest
from gate.gates import build_gates
from gate.judge import is_clear
from gate.messages import Plan
from gate.own_work import borrowed
from gate.profiling.collect import open_profiler
from gate.profiling.program import Options
from gate.profiling.stage import profile_evaluations
from gate.records import (
    EMPTY,
    Build,
    Case,
    Correctness,
    Environment,
    Evaluation,
    GpuState,
    Measurement,
    Outcome,
    Status,
    Trial,
    Workload,
)
from gate.registry import Candidate
from gate.sdpa import BEST, PREFIX, backends_of
from gate.settings import Settings
from gate.trial import Progress, Watch, candidate_arms, plan_for, sdpa_arms, take_trials
from gate.witness.parent import bout_of, seconds_of, witness
from gate.workers import WorkerServer

CHECKS_A_PROCESS = 9
WITNESS_S = 120.0


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how to measure: a running server, a device, the settings, and whom to tell of progress."""

    server: WorkerServer
    witness: WorkerServer
    """Runs no candidate: what it sees, no candidate can have touched."""
    device: str
    settings: Settings
    progress: Progress
    look: Callable[[], GpuState | None] = lambda: None
    """At the GPU, beside every replicate."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went, by stage: kept with the measurement."""

    def backends(self, wanted: str) -> tuple[str, ...]:
        """`all` or `best` to every backend of the device, a name to itself. Raises BadInputError."""
        return backends_of(self.device, wanted)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what is done inside towards the stage's seconds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def measure_candidate(
    bench: Bench, candidate: Candidate, workloads: tuple[Workload, ...], *, counters: int | None = 0
) -> Measurement:
    """Builds, checks and times a candidate on each workload; what fails is recorded, and what follows it absent.

    Hardware counters are read beside on so many workloads (None: on all), or why they were not.
    """
    backends = bench.backends(bench.settings.measure.baseline)
    bench.witness.start()
    environment, built = prepare(bench, candidate)
    evaluations: list[Evaluation] = []
    if all(gate.outcome is Outcome.PASS for gate in build_gates(built, bench.settings.gates)):
        source = source_of(candidate, built)
        traced = _trace_sdpa(bench, bench.witness, workloads, backends)  # before a candidate could disturb it
        checked = _check(bench, candidate, source, traced)
        evaluations = _timed(bench, candidate, source, _trace_candidate(bench, candidate, source, checked))
    if counters != 0 and evaluations:
        evaluations = _profile(bench, candidate, built, evaluations, counters)
    return _measurement(bench, environment, workloads, candidate, built, evaluations)


def _profile(
    bench: Bench, candidate: Candidate, built: Build, evaluations: list[Evaluation], most: int | None
) -> list[Evaluation]:
    bench.progress("profile", 0, 1)
    opened = partial(open_profiler, bench.server, bench.settings.limits.profile_s, Options())
    with bench.stage("profile"):
        return profile_evaluations(bench.settings, candidate, built, evaluations, most, opened)


def measure_sdpa(bench: Bench, wanted: str, workloads: tuple[Workload, ...]) -> Measurement:
    """SDPA's backends against one another, interleaved; as many replicates as the budget allows."""
    backends, measure = bench.backends(wanted), bench.settings.measure
    environment = describe(bench)
    traced = _trace_sdpa(bench, bench.server, workloads, backends)
    seen = _time_sdpa(bench, traced, measure.looks[-1], measure.rounds, "time SDPA")
    return _measurement(bench, environment, workloads, evaluations=seen)


def _measurement(
    bench: Bench,
    environment: Environment,
    workloads: tuple[Workload, ...],
    candidate: Candidate | None = None,
    built: Build | None = None,
    evaluations: Sequence[Evaluation] = (),
) -> Measurement:
    seconds = dict(bench.seconds)
    if candidate is None or built is None:
        return Measurement(environment, workloads, evaluations=tuple(evaluations), seconds=seconds)
    chosen = replace(environment, sdpa_backend=chosen_backends(evaluations))
    asked, made = bench.settings.measure.baseline, built.as_evidence()
    return Measurement(chosen, workloads, candidate.name, made, tuple(evaluations), seconds, asked)


def describe(bench: Bench) -> Environment:
    """Where all is to run. Raises UnfitEnvironmentError."""
    with bench.stage("start"):
        return describe_environment(bench.server, bench.device)


def prepare(bench: Bench, candidate: Candidate) -> tuple[Environment, Build]:
    """Where the candidate is to run, and what it was built into."""
    environment = describe(bench)
    bench.progress(f"build {candidate.name}", 0, 1)
    with bench.stage("build"):
        return environment, build(candidate, bench.server, bench.settings.limits.build_s)


def source_of(candidate: Candidate, built: Build) -> str:
    """What a candidate's process loads."""
    return built.library or candidate.entry


def _check(bench: Bench, candidate: Candidate, source: str, traced: Sequence[Evaluation]) -> list[Evaluation]:
    """With the candidate's check. What is not right needs no traces."""
    seen = check_cases(bench, candidate, source, {Case(each.workload): secrets.randbits(62) for each in traced})
    return [
        replace(each, correctness=answer) if answer.status is Status.OK else Evaluation(each.workload, answer)
        for each, answer in zip(traced, seen, strict=True)
    ]


def check_cases(bench: Bench, candidate: Candidate, source: str, cases: Mapping[Case, int]) -> list[Correctness]:
    """The candidate checked on each case, with inputs from its seed.

    In groups that share a process: small enough for progress to be seen, large enough for its start not to be.
    """
    seen: list[Correctness] = []
    asked = list(cases.items())
    with bench.stage("check"):
        for first in range(0, len(asked), CHECKS_A_PROCESS):
            bench.progress(f"check {candidate.name}", first, len(asked))
            group = dict(asked[first : first + CHECKS_A_PROCESS])
            seen += check_candidate(bench.server, candidate, source, group, bench.device, bench.settings)
    return seen


def _sound(evaluation: Evaluation) -> bool:
    return evaluation.correctness is not None and evaluation.correctness.status is Status.OK


def _trace_candidate(
    bench: Bench, candidate: Candidate, source: str, checked: Sequence[Evaluation]
) -> list[Evaluation]:
    """With the candidate's traces, wherever it is right."""
    asked = [(each.workload, (candidate.name,)) for each in checked if _sound(each)]
    with bench.stage("trace"):
        seen = iter(trace_implementations(bench.server, bench.device, asked, source))
    return [replace(each, traces=(*each.traces, *next(seen))) if _sound(each) else each for each in checked]


def _timed(bench: Bench, candidate: Candidate, source: str, traced: list[Evaluation]) -> list[Evaluation]:
    """Those that are right with their trials; none is timed of a candidate that is seen to run SDPA's own kernels."""
    if any(borrowed(each, candidate.name) for each in traced):
        return traced
    sound = [each for each in traced if _sound(each)]
    timed = iter(_time(bench, candidate, source, _choose_baselines(bench, sound)))
    return [next(timed) if _sound(each) else each for each in traced]


def _choose_baselines(bench: Bench, traced: Sequence[Evaluation]) -> Sequence[Evaluation]:
    """For `best`, a short trial of the backends."""
    measure = bench.settings.measure
    if measure.baseline != BEST:
        return traced
    return _time_sdpa(bench, traced, measure.selection_replicates, measure.selection_rounds, "choose baseline")


def _trace_sdpa(
    bench: Bench, server: WorkerServer, workloads: Sequence[Workload], backends: tuple[str, ...]
) -> list[Evaluation]:
    names = tuple(PREFIX + backend for backend in backends)
    bench.progress("trace SDPA", 0, 1)
    with bench.stage("trace"):
        seen = trace_implementations(server, bench.device, [(each, names) for each in workloads])
    return [Evaluation(each, traces=traces) for each, traces in zip(workloads, seen, strict=True)]


def _time_sdpa(
    bench: Bench, traced: Sequence[Evaluation], replicates: int, rounds: int, stage: str
) -> list[Evaluation]:
    """Of each workload, the backends that can compute it, timed against one another."""
    plans = {
        number: replace(_sdpa_plan(bench, each), rounds=rounds) for number, each in enumerate(traced) if _able(each)
    }
    trials = _trials(bench, stage, [*plans.values()], (replicates,), lambda *_: True)
    found = dict(zip(plans, trials, strict=True))
    return [replace(each, sdpa=found.get(number)) for number, each in enumerate(traced)]


def _able(evaluation: Evaluation) -> list[str]:
    """The backends that were seen to compute the workload."""
    able = [each.implementation for each in evaluation.traces if not each.refusal]
    return [name.removeprefix(PREFIX) for name in able if name.startswith(PREFIX)]


def _sdpa_plan(bench: Bench, evaluation: Evaluation) -> Plan:
    return plan_for(evaluation.workload, sdpa_arms(_able(evaluation)), bench.settings, bench.device)


def _time(bench: Bench, candidate: Candidate, source: str, opposed: Sequence[Evaluation]) -> list[Evaluation]:
    """The candidate against its baseline, wherever there is one."""
    baselines = [_baseline_of(bench, each) for each in opposed]
    able = [each for each, backend in zip(opposed, baselines, strict=True) if backend]
    plans = [
        _candidate_plan(bench, candidate, source, each, backend)
        for each, backend in zip(able, filter(None, baselines), strict=True)
    ]
    policy, so_far = bench.settings.gates, {each.workload: each for each in able}

    def clear(trial: Trial, workload: Workload) -> bool:
        return is_clear(compare(replace(so_far[workload], trial=trial), policy), policy)

    trials = _trials(bench, "time", plans, bench.settings.measure.looks, clear)
    timed = [replace(each, trial=trial) for each, trial in zip(able, trials, strict=True)]
    seen = {each.workload: each for each in _witness(bench, candidate, source, timed)}
    return [seen.get(each.workload, each) for each in opposed]


def _witness(bench: Bench, candidate: Candidate, source: str, timed: list[Evaluation]) -> list[Evaluation]:
    """What the witness saw of each workload that was timed."""
    bouts = [(each, bout) for each in timed if (bout := bout_of(each, bench.device))]
    wanted, limit_s = [bout for _, bout in bouts], WITNESS_S + sum(seconds_of(*pair) for pair in bouts)
    bench.progress("witness", 0, 1)
    with bench.stage("witness"):
        seen = witness(bench.witness, bench.server, bench.device, candidate.name, source, wanted, limit_s)
    found = {bout.workload: each for bout, each in zip(wanted, seen, strict=True)}
    return [replace(each, witness=found.get(each.workload)) for each in timed]


def _candidate_plan(bench: Bench, candidate: Candidate, source: str, seen: Evaluation, backend: str) -> Plan:
    arms = candidate_arms(candidate.name, backend)
    error = seen.correctness.sdpa_max_abs_err if seen.correctness else None
    call_ms = seen.correctness.call_ms if seen.correctness else None
    return plan_for(
        seen.workload, arms, bench.settings, bench.device, source=source, sdpa_max_abs_err=error, call_ms=call_ms
    )


def _baseline_of(bench: Bench, chosen: Evaluation) -> str | None:
    """The backend to beat, or None where none can compute the workload."""
    wanted = bench.settings.measure.baseline
    if wanted != BEST:
        return None if chosen.traces[0].refusal else wanted
    return fastest(chosen.sdpa) if chosen.sdpa is not None and chosen.sdpa.status is Status.OK else None


def _trials(
    bench: Bench,
    stage: str,
    plans: list[Plan],
    looks: tuple[int, ...],
    clear: Callable[[Trial, Workload], bool],
) -> list[Trial]:
    arms = ", ".join(dict.fromkeys(arm for plan in plans for arm in plan.arms if arm != EMPTY))
    label = f"{stage}: {len(plans)} workloads ({arms})"

    def progress(done: int) -> None:
        bench.progress(label, done, looks[-1])

    watch = Watch(bench.look, bench.settings.measure.repeats)
    with bench.stage(stage):
        return take_trials(bench.server, plans, looks, bench.settings.limits.replicate_s, clear, progress, watch)
