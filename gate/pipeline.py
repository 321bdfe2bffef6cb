"""The whole way from a request to the evidence, one workload after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gate.build import build
from gate.compare import compare, fastest
from gate.errors import BadInputError
from gate.judge import is_clear
from gate.messages import Plan
from gate.records import EMPTY, Build, Correctness, Environment, Evaluation, Measurement, Status, Trial, Workload
from gate.registry import Candidate
from gate.sdpa import AVAILABLE, BEST
from gate.settings import Settings
from gate.trial import (
    Progress,
    candidate_arms,
    check_candidate,
    describe_environment,
    plan_for,
    sdpa_arms,
    take_trial,
)
from gate.workers import WorkerServer


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how to measure: a running server, a device, the settings, and whom to tell of progress."""

    server: WorkerServer
    device: str
    settings: Settings
    progress: Progress

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
    arms = sdpa_arms(bench.backends(wanted))
    count = bench.settings.measure.looks[-1]
    evaluations = tuple(Evaluation(each, sdpa=_sdpa_trial(bench, each, arms, count)) for each in workloads)
    return Measurement(environment, workloads, evaluations=evaluations)


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
    sdpa, backend = _choose_baseline(bench, workload)
    if backend is None:
        return Evaluation(workload, seen, sdpa)
    plan = plan_for(
        workload,
        candidate_arms(candidate.name, backend),
        bench.settings,
        bench.device,
        source=_source(candidate, built),
        sdpa_max_abs_err=seen.sdpa_max_abs_err,
    )

    def clear(trial: Trial) -> bool:
        policy = bench.settings.gates
        return is_clear(compare(Evaluation(workload, seen, sdpa, trial), policy), policy)

    return Evaluation(workload, seen, sdpa, _trial(bench, plan, bench.settings.measure.looks, clear))


def _choose_baseline(bench: Bench, workload: Workload) -> tuple[Trial | None, str | None]:
    """The backend that was asked for; for `best`, the fastest of a short trial, with that trial."""
    wanted = bench.settings.measure.baseline
    if wanted != BEST:
        return None, wanted
    arms = sdpa_arms(bench.backends(BEST))
    trial = _sdpa_trial(bench, workload, arms, bench.settings.measure.selection_replicates)
    return trial, fastest(trial) if trial.status is Status.OK else None


def _sdpa_trial(bench: Bench, workload: Workload, arms: Mapping[str, str], replicates: int) -> Trial:
    plan = plan_for(workload, arms, bench.settings, bench.device)
    return _trial(bench, plan, (replicates,), lambda _: True)


def _trial(bench: Bench, plan: Plan, looks: tuple[int, ...], clear: Callable[[Trial], bool]) -> Trial:
    label = f"time {plan.workload} ({', '.join(arm for arm in plan.arms if arm != EMPTY)})"

    def progress(done: int) -> None:
        bench.progress(label, done, looks[-1])

    return take_trial(bench.server, plan, looks, bench.settings.limits.replicate_s, clear, progress)
