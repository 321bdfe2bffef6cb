"""The evidence: environment, build, checks and raw samples, without judgement."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gate.records.base import (
    SCHEMA_VERSION,
    Record,
    SchemaVersion,
    Status,
    require,
    require_commit,
    require_counts,
    require_form,
    require_times,
)
from gate.records.build import Build, MergeBase
from gate.records.correctness import Correctness
from gate.records.gpu import Gpu, Telemetry
from gate.records.profile import Profile
from gate.records.witness import Witness
from gate.records.workload import Workload

UTC_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"
# The arms of a candidate's trial (docs/measurement.md).
BASELINE, BASELINE_AGAIN, CANDIDATE, EMPTY = "baseline", "baseline_again", "candidate", "empty"


@dataclass(frozen=True, slots=True)
class Environment(Record):
    """The machine and the software that measured. `flags` are PyTorch's numerics settings.

    `sdpa_backend` is the baseline; if it differs between workloads, all backends are listed: `cudnn, flash`.
    """

    created_at: str
    kernel_gate: str
    device: str
    device_name: str
    os: str
    python: str
    torch: str
    cpu: str
    cpu_count: int
    threads: int
    memory_bytes: int
    compiler: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    gpu: Gpu | None = None
    flags: Mapping[str, str | bool] = field(default_factory=dict)
    sdpa_backend: str | None = None

    def __post_init__(self) -> None:
        require(self.device in ("cpu", "cuda"), f"a device is cpu or cuda, not {self.device!r}")


@dataclass(frozen=True, slots=True)
class Arm(Record):
    """One thing timed in a trial: its role, and its implementation (an IMPL, `sdpa:flash`, `empty`)."""

    name: str
    implementation: str


@dataclass(frozen=True, slots=True)
class ClockPair(Record):
    """One batch of launches, timed by the device's clock and by the host's."""

    device_ms: float
    host_ms: float
    launches: int

    def __post_init__(self) -> None:
        require_times((self.device_ms, self.host_ms))
        require_counts((self.launches,), least=1)


@dataclass(frozen=True, slots=True)
class Replicate(Record):
    """The samples of a fresh process: `times_ms[round][arm]`, rounds in the order taken, arms in the trial's order.

    `seed` determines the order in which arms are created and, within each round, timed.
    """

    seed: int
    times_ms: tuple[tuple[float, ...], ...]
    creation_order: tuple[str, ...]
    seconds: float
    peak_bytes: int
    clocks: Mapping[str, ClockPair] = field(default_factory=dict)
    """Per arm, one batch of launches timed by two clocks."""
    uncaptured: tuple[str, ...] = ()
    """Arms that could not be captured in a CUDA graph, so each call was launched by the host."""
    telemetry: Telemetry | None = None
    taken_at: str | None = None
    """When the replicate was complete: UTC, as 2026-11-21T10:00:00+00:00. Null: not recorded."""

    def __post_init__(self) -> None:
        require_form(self.taken_at, UTC_TIME, "taken_at is UTC, as 2026-11-21T10:00:00+00:00")
        require(len(self.times_ms) > 0, "a replicate has at least one round")
        require_counts((self.peak_bytes,))
        for times in self.times_ms:
            require_times(times)
        arms = sorted(set(self.creation_order))
        require(len(arms) == len(self.creation_order), "an arm was created twice")
        require(all(len(times) == len(arms) for times in self.times_ms), "every round times every arm once")


@dataclass(frozen=True, slots=True)
class Trial(Record):
    """All replicates of one workload: the raw evidence. `timing` names the method of timing."""

    status: Status
    arms: tuple[Arm, ...]
    timing: str
    warmup_rounds: int
    message: str = ""
    replicates: tuple[Replicate, ...] = ()
    interim_replicates: tuple[int, ...] = ()
    """The planned interim analyses: numbers of replicates after which it could stop. Empty: none was planned."""
    planned_rounds: int | None = None
    """The number of rounds as planned, if fewer fit the time limit of a replicate; else None."""
    median_ms: Mapping[str, float] = field(default_factory=dict)
    """Per arm, over all samples; computed on construction, for readers of the JSON."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        require(len(set(names)) == len(names) > 0, f"arms have names of their own, not {names}")
        for replicate in self.replicates:
            require(set(replicate.creation_order) == set(names), "a replicate has other arms than its trial")
        planned = list(self.interim_replicates)
        require(planned == sorted(set(planned)), f"interim_replicates increase, and {planned} do not")
        require_counts(self.interim_replicates, least=1)
        rounds = {len(replicate.times_ms) for replicate in self.replicates}
        fewer = self.planned_rounds is None or max(rounds, default=0) < self.planned_rounds
        require(fewer, "planned_rounds says that a replicate has fewer rounds than planned")
        require(len(rounds) <= 1, f"replicates have the same number of rounds, not {sorted(rounds)}")
        seeds = {replicate.seed for replicate in self.replicates}
        require(len(seeds) == len(self.replicates), "a replicate is counted twice")
        if self.status is Status.OK:
            require(bool(self.replicates), "a trial that is ok has replicates")
            stopped = not planned or len(self.replicates) in planned
            require(stopped, f"the trial has {len(self.replicates)} replicates, and could stop at {planned} only")
        else:
            require(bool(self.message), "a trial that is not ok has a message")
        self._settle_medians()

    def samples(self, arm: str) -> list[list[float]]:
        """Times of one arm in ms: per replicate, a list over rounds."""
        index = [timed.name for timed in self.arms].index(arm)
        return [[times[index] for times in replicate.times_ms] for replicate in self.replicates]

    def has(self, *arms: str) -> bool:
        """Whether all of these arms were timed."""
        return set(arms) <= {arm.name for arm in self.arms}

    def implementation(self, arm: str) -> str:
        """The implementation that this arm timed."""
        return next(timed.implementation for timed in self.arms if timed.name == arm)

    def _settle_medians(self) -> None:
        medians: dict[str, float] = {}
        if self.replicates:
            for arm in self.arms:
                medians[arm.name] = statistics.median(itertools.chain.from_iterable(self.samples(arm.name)))
        agrees = set(medians) == set(self.median_ms) and all(
            math.isclose(medians[name], self.median_ms[name], rel_tol=1e-9) for name in medians
        )
        require(not self.median_ms or agrees, "median_ms disagrees with the samples")
        object.__setattr__(self, "median_ms", medians)


@dataclass(frozen=True, slots=True)
class Trace(Record):
    """The profiler's trace of one implementation: kernels in the order of their first launch, and ms per call."""

    implementation: str
    kernels: tuple[str, ...] = ()
    kernel_ms: float | None = None
    refusal: str = ""
    """Why this implementation cannot compute the workload; empty if it can."""


@dataclass(frozen=True, slots=True)
class Evaluation(Record):
    """All evidence of a candidate on one workload; the stages after one that failed are absent.

    `sdpa` is the trial of SDPA's backends that chose the fastest as the baseline, if `best` was asked for.
    """

    workload: Workload
    correctness: Correctness | None = None
    sdpa: Trial | None = None
    trial: Trial | None = None
    traces: tuple[Trace, ...] = ()
    witness: Witness | None = None
    profiles: tuple[Profile, ...] = ()

    def profile(self, implementation: str) -> Profile | None:
        """The counters of an implementation, or why there are none; None if none were asked for."""
        return next((profile for profile in self.profiles if profile.implementation == implementation), None)

    def trace(self, implementation: str) -> Trace | None:
        """The trace of an implementation, if there is one."""
        return next((trace for trace in self.traces if trace.implementation == implementation), None)

    def __post_init__(self) -> None:
        failed = self.correctness is not None and self.correctness.status is not Status.OK
        require(not (failed and self.trial is not None), "a candidate that failed its check is not timed")


@dataclass(frozen=True, slots=True)
class Measurement(Record):
    """The evidence without judgement: what was asked for (`workloads`), built, checked and timed."""

    environment: Environment
    workloads: tuple[Workload, ...]
    impl: str | None = None
    build: Build | None = None
    evaluations: tuple[Evaluation, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """The time that each stage took."""
    baseline: str | None = None
    """The SDPA backend that is to be beaten, by name or as `best`; None if none was named."""
    commit: str | None = None
    """The commit that the candidate's files are of, in full. Null: not recorded."""
    run_id: int | None = None
    """Of the run of GitHub Actions that measured. Null: measured elsewhere, or not recorded."""
    seed: int | None = None
    """From which the seeds of all replicates follow. Null: every replicate drew its own."""
    merge_base: MergeBase | None = None
    """What the arm `merge_base` ran. Null: the trials have no such arm."""
    kind: Literal["measurement"] = "measurement"
    schema_version: SchemaVersion = SCHEMA_VERSION

    def __post_init__(self) -> None:
        require_commit(self.commit)
        require_counts((self.run_id,), least=1)
        require(bool(self.workloads), "a measurement asks for at least one workload")
        require(self.impl == (self.build and self.build.impl), "a candidate has its own build, and SDPA has none")
        if self.build is not None and self.build.status is not Status.OK:
            require(not self.evaluations, "a candidate without a build is not evaluated")
        seen = [evaluation.workload for evaluation in self.evaluations]
        require(len(set(seen)) == len(seen), "a workload is evaluated once")
        require(set(seen) <= set(self.workloads), "only workloads that were asked for are evaluated")
        every = (evaluation.trial for evaluation in self.evaluations)
        trials = [trial for trial in every if trial and trial.has(CANDIDATE)]
        played = {trial.implementation(CANDIDATE) for trial in trials}
        require(played <= {self.impl}, f"{self.impl} is timed as itself, and not {', '.join(sorted(played))}")
