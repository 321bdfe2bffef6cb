"""The whole way from a request to the evidence, one workload after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gate.build import build
from gate.compare import compare, fastest
from gate.errors import BadInputError
from gate.judge import is_clear
from gate.messages import Plan
from gate.records import (
    EMPTY,
    Build,
    Correctness,
    Environment,
    Evaluation,
    GpuState,
    Measurement,
    Status,
    Trial,
    Workload,
)
from gate.registry import Candidate
from gate.sdpa import AVAILABLE, BEST, PREFIX
from gate.settings import Settings
from gate.trial import (
    Progress,
    Watch,
    candidate_arms,
    check_candidate,
    describe_environment,
    plan_for,
    sdpa_arms,
    take_trial,
    trace_implementations,
)
from gate.workers import WorkerServer


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how to measure: a running server, a device, the settings, and whom to tell of progress."""

    server: WorkerServer
    device: str
    settings: Settings
    progress: Progress
    look: Callable[[], GpuState | None] = lambda: None
    """At the GPU, beside every replicate."""

    def backends(self, wanted: str) -> tuple[str, ...]:
        """`all` or `best` to every backend of the device, a name to itself. Raises BadInputError."""
        available = AVAILABLE[self.device]
        if wanted in ("all", BEST):
            return available
        if wanted not in available:
            raise BadInputError(f"no SDPA backend '{wanted}' on {self.device}; choose {', '.join(available)} or best")
        return (wanted,)


def measure_candidate(bench: Bench, candidate: Candidate, workloads: tuple[Workload, ...]) -> Measurement:
    """Builds, checks and times a candidate on each workload; what fails is recorded, and what follows it absent."""
    bench.backends(bench.settings.measure.baseline)
    environment, built = _prepare(bench, candidate)
    evaluations: tuple[Evaluation, ...] = ()
    if built.status is Status.OK:
        evaluations = tuple(_evaluate(bench, candidate, built, workload) for workload in workloads)
    return Measurement(environment, workloads, candidate.name, built, evaluations)


def measure_sdpa(bench: Bench, wanted: str, workloads: tuple[Workload, ...]) -> Measurement:
    """SDPA's backends against one another, interleaved; as many replicates as the budget allows."""
    environment = describe_environment(bench.server, bench.device)
    backends, count = bench.backends(wanted), bench.settings.measure.looks[-1]
    evaluations = tuple(_evaluate_sdpa(bench, each, backends, count) for each in workloads)
    return Measurement(environment, workloads, evaluations=evaluations)


def _evaluate_sdpa(bench: Bench, workload: Workload, backends: tuple[str, ...], replicates: int) -> Evaluation:
    """The backends that can compute this workload, timed against one another."""
    bench.progress(f"trace {workload}", 0, 1)
    names = tuple(PREFIX + backend for backend in backends)
    traces = trace_implementations(bench.server, bench.device, workload, names)
    able = [name for name, seen in zip(backends, traces, strict=True) if not seen.refusal]
    if not able:
        return Evaluation(workload, traces=traces)
    plan = plan_for(workload, sdpa_arms(able), bench.settings, bench.device)
    trial = _trial(bench, plan, (replicates,), lambda _: True)
    return Evaluation(workload, sdpa=trial, traces=traces)


def fuzz(bench: Bench, candidate: Candidate, workloads: tuple[Workload, ...]) -> Measurement:
    """Checks a candidate on each workload, and times nothing."""
    environment, built = _prepare(bench, candidate)
    evaluations: list[Evaluation] = []
    if built.status is Status.OK:
        for number, workload in enumerate(workloads):
            bench.progress("check", number, len(workloads))
            evaluations.append(Evaluation(workload, _check(bench, candidate, built, workload)))
    return Measurement(environment, workloads, candidate.name, built, tuple(evaluations))


def _prepare(bench: Bench, candidate: Candidate) -> tuple[Environment, Build]:
    environment = describe_environment(bench.server, bench.device)
    bench.progress(f"build {candidate.name}", 0, 1)
    return environment, build(candidate, bench.server, bench.settings.limits.build_s)


def _source(candidate: Candidate, built: Build) -> str:
    return built.library or str(candidate.folder / candidate.sources[0])


def _check(bench: Bench, candidate: Candidate, built: Build, workload: Workload) -> Correctness:
    source = _source(candidate, built)
    return check_candidate(bench.server, candidate, source, workload, bench.device, bench.settings)


def _evaluate(bench: Bench, candidate: Candidate, built: Build, workload: Workload) -> Evaluation:
    """Check, choice of the baseline, trial: each only where the one before succeeded."""
    bench.progress(f"check {workload}", 0, 1)
    seen = _check(bench, candidate, built, workload)
    if seen.status is not Status.OK:
        return Evaluation(workload, seen)
    chosen = replace(_choose_baseline(bench, workload), correctness=seen)
    backend = _baseline_of(bench, chosen)
    if backend is None:
        return chosen
    source = _source(candidate, built)
    traces = trace_implementations(bench.server, bench.device, workload, (candidate.name,), source)
    arms = candidate_arms(candidate.name, backend)
    plan = plan_for(
        workload, arms, bench.settings, bench.device, source=source, sdpa_max_abs_err=seen.sdpa_max_abs_err
    )
    traced = replace(chosen, traces=(*chosen.traces, *traces))

    def clear(trial: Trial) -> bool:
        policy = bench.settings.gates
        return is_clear(compare(replace(traced, trial=trial), policy), policy)

    return replace(traced, trial=_trial(bench, plan, bench.settings.measure.looks, clear))


def _choose_baseline(bench: Bench, workload: Workload) -> Evaluation:
    """For `best`, a short trial of the backends; for a backend by name, only what it runs."""
    wanted = bench.settings.measure.baseline
    if wanted == BEST:
        return _evaluate_sdpa(bench, workload, bench.backends(BEST), bench.settings.measure.selection_replicates)
    return Evaluation(
        workload, traces=trace_implementations(bench.server, bench.device, workload, (PREFIX + wanted,))
    )


def _baseline_of(bench: Bench, chosen: Evaluation) -> str | None:
    """The backend to beat, or None where none can compute the workload."""
    wanted = bench.settings.measure.baseline
    if wanted != BEST:
        return None if chosen.traces[0].refusal else wanted
    return fastest(chosen.sdpa) if chosen.sdpa is not None and chosen.sdpa.status is Status.OK else None


def _trial(bench: Bench, plan: Plan, looks: tuple[int, ...], clear: Callable[[Trial], bool]) -> Trial:
    label = f"time {plan.workload} ({', '.join(arm for arm in plan.arms if arm != EMPTY)})"

    def progress(done: int) -> None:
        bench.progress(label, done, looks[-1])

    watch = Watch(bench.look, bench.settings.measure.repeats)
    return take_trial(bench.server, plan, looks, bench.settings.limits.replicate_s, clear, progress, watch)
