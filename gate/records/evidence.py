"""What was seen: environment, build, checks and raw samples, without judgement."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gate.records.base import SCHEMA_VERSION, Record, Status, require
from gate.records.gpu import Gpu, Telemetry
from gate.records.workload import Workload

# The arms of a candidate's trial (DESIGN.md section 3).
BASELINE, BASELINE_AGAIN, CANDIDATE, EMPTY = "baseline", "baseline_again", "candidate", "empty"


@dataclass(frozen=True, slots=True)
class Environment(Record):
    """What the measurement ran on. `flags` is how PyTorch computes, `sdpa_backend` the one chosen as the baseline."""

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


@dataclass(frozen=True, slots=True)
class Build(Record):
    """A candidate turned into something that can be called. `library` is absent for Python candidates."""

    impl: str
    status: Status
    message: str = ""
    key: str = ""
    cached: bool = False
    seconds: float = 0.0
    library: str | None = None
    log: str = ""

    def __post_init__(self) -> None:
        allowed = {Status.OK, Status.BUILD_FAILED, Status.TIMED_OUT, Status.UNSUPPORTED, Status.ENVIRONMENT}
        require(self.status in allowed, f"a build cannot end as {self.status}")
        require(self.status is Status.OK or self.library is None, "a build that failed has no library")
        require(self.status is Status.OK or bool(self.message), "a build that failed says why")


@dataclass(frozen=True, slots=True)
class Check(Record):
    """One thing that was looked at, and what was seen."""

    name: str
    passed: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Correctness(Record):
    """A candidate's answer on one workload, held against the float64 reference.

    `max_abs_err` is absent where the output held no finite number to compare; `sdpa_max_abs_err` is the error of
    SDPA itself on the same inputs, which the second rule of the tolerance is built on.
    """

    status: Status
    message: str = ""
    checks: tuple[Check, ...] = ()
    max_abs_err: float | None = None
    sdpa_max_abs_err: float | None = None

    def __post_init__(self) -> None:
        require(self.status is not Status.BUILD_FAILED, "a check cannot end as build_failed")
        failed = [check.name for check in self.checks if not check.passed]
        if self.status is Status.OK:
            require(bool(self.checks) and not failed, f"status ok contradicts its checks: {failed or 'none ran'}")
            measured = self.max_abs_err is not None and self.sdpa_max_abs_err is not None
            require(measured, "status ok needs the errors of candidate and SDPA")
        else:
            require(bool(self.message), "a failed check says why")
            require(self.status is not Status.INCORRECT or bool(failed), "incorrect needs a failed check")


@dataclass(frozen=True, slots=True)
class Arm(Record):
    """One thing timed in a trial: its role, and what plays it (an IMPL, `sdpa:flash`, `empty`)."""

    name: str
    implementation: str


@dataclass(frozen=True, slots=True)
class ClockPair(Record):
    """The same batch of launches by the device's clock and by the host's, in milliseconds."""

    device_ms: float
    host_ms: float
    launches: int

    def __post_init__(self) -> None:
        require(min(self.device_ms, self.host_ms) > 0 and self.launches >= 1, "a batch takes time on both clocks")


@dataclass(frozen=True, slots=True)
class Replicate(Record):
    """A fresh process's samples. `times_ms[round][arm]`, rounds in the order taken, arms in the trial's order.

    `seed` fixes the order in which arms were created and, within each round, timed.
    """

    seed: int
    times_ms: tuple[tuple[float, ...], ...]
    creation_order: tuple[str, ...]
    seconds: float
    peak_bytes: int
    clocks: Mapping[str, ClockPair] = field(default_factory=dict)
    """Per arm, one batch of launches by two clocks."""
    direct: tuple[str, ...] = ()
    """Arms that were launched directly, because no graph could be made of them."""
    telemetry: Telemetry | None = None

    def __post_init__(self) -> None:
        require(len(self.times_ms) > 0, "a replicate has at least one round")
        for times in self.times_ms:
            require(all(math.isfinite(t) and t > 0 for t in times), "a time is finite and positive")
        arms = sorted(set(self.creation_order))
        require(len(arms) == len(self.creation_order), "an arm was created twice")
        require(all(len(times) == len(arms) for times in self.times_ms), "every round times every arm once")


@dataclass(frozen=True, slots=True)
class Trial(Record):
    """All replicates of one workload: the raw evidence. `timing` names how the clock was read."""

    status: Status
    arms: tuple[Arm, ...]
    timing: str
    warmup_rounds: int
    message: str = ""
    replicates: tuple[Replicate, ...] = ()
    looks: tuple[int, ...] = ()
    """The numbers of replicates at which the trial might have stopped, as planned; empty where it was fixed."""
    median_ms: Mapping[str, float] = field(default_factory=dict)
    """Per arm, over all samples; computed on construction, for readers of the JSON."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        require(len(set(names)) == len(names) > 0, f"arms have names of their own, not {names}")
        for replicate in self.replicates:
            require(set(replicate.creation_order) == set(names), "a replicate has other arms than its trial")
        require(list(self.looks) == sorted(set(self.looks)), f"looks increase, not {list(self.looks)}")
        rounds = {len(replicate.times_ms) for replicate in self.replicates}
        require(len(rounds) <= 1, f"replicates have the same number of rounds, not {sorted(rounds)}")
        seeds = {replicate.seed for replicate in self.replicates}
        require(len(seeds) == len(self.replicates), "a replicate is counted twice")
        if self.status is Status.OK:
            require(bool(self.replicates), "a trial that is ok has replicates")
            stopped = not self.looks or len(self.replicates) in self.looks
            require(stopped, f"{len(self.replicates)} replicates are not at one of the looks {list(self.looks)}")
        else:
            require(bool(self.message), "a trial that failed says why")
        self._settle_medians()

    def samples(self, arm: str) -> list[list[float]]:
        """Times in ms of one arm: a list of rounds per replicate."""
        index = [each.name for each in self.arms].index(arm)
        return [[times[index] for times in replicate.times_ms] for replicate in self.replicates]

    def has(self, *arms: str) -> bool:
        """Whether all of these arms were timed."""
        return set(arms) <= {arm.name for arm in self.arms}

    def implementation(self, arm: str) -> str:
        """What played this arm."""
        return next(each.implementation for each in self.arms if each.name == arm)

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
    """What a profiler saw of one implementation: kernels in the order of their first launch, and ms per call."""

    implementation: str
    kernels: tuple[str, ...] = ()
    kernel_ms: float | None = None
    refusal: str = ""
    """Why this implementation cannot compute the workload; empty where it can."""


@dataclass(frozen=True, slots=True)
class Evaluation(Record):
    """Everything seen of a candidate on one workload; what follows a failed stage is absent.

    `sdpa` is the trial of SDPA's backends that chose the baseline, where the baseline was to be the best.
    """

    workload: Workload
    correctness: Correctness | None = None
    sdpa: Trial | None = None
    trial: Trial | None = None
    traces: tuple[Trace, ...] = ()

    def trace(self, implementation: str) -> Trace | None:
        """What was seen of an implementation, if it was looked at."""
        return next((each for each in self.traces if each.implementation == implementation), None)

    def __post_init__(self) -> None:
        failed = self.correctness is not None and self.correctness.status is not Status.OK
        require(not (failed and self.trial is not None), "a candidate that failed its check is not timed")


@dataclass(frozen=True, slots=True)
class Measurement(Record):
    """The evidence, without judgement: what was asked (`workloads`), built, checked and timed."""

    environment: Environment
    workloads: tuple[Workload, ...]
    impl: str | None = None
    build: Build | None = None
    evaluations: tuple[Evaluation, ...] = ()
    kind: Literal["measurement"] = "measurement"
    schema_version: Literal[1] = SCHEMA_VERSION

    def __post_init__(self) -> None:
        require(bool(self.workloads), "a measurement asks for at least one workload")
        require((self.impl is None) == (self.build is None), "a candidate has a build, and SDPA has none")
        if self.build is not None and self.build.status is not Status.OK:
            require(not self.evaluations, "what was not built cannot be evaluated")
        seen = [evaluation.workload for evaluation in self.evaluations]
        require(len(set(seen)) == len(seen), "a workload is evaluated once")
