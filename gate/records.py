"""The records that flow through Kernel Gate, and nothing that computes on them.

Every arrow of the pipeline returns one of these frozen records; each checks itself, so that a state that
makes no sense cannot be built. `gate.files` turns them into JSON and back. Times are milliseconds.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final, Literal

SCHEMA_VERSION: Final = 1

Dtype = Literal["float32", "float16", "bfloat16"]
DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}

# The arms of a candidate's trial (DESIGN.md section 3).
BASELINE, BASELINE_AGAIN, CANDIDATE, EMPTY = "baseline", "baseline_again", "candidate", "empty"


class Status(StrEnum):
    """How a stage ended; everything but `ok` names the cause."""

    OK = "ok"
    BUILD_FAILED = "build_failed"
    INCORRECT = "incorrect"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    UNSUPPORTED = "unsupported"
    ENVIRONMENT = "environment"


class Outcome(StrEnum):
    """What a gate or a verdict says. The order is that of precedence when gates disagree."""

    ENVIRONMENT = "environment"
    FAILED = "failed"
    REJECTED = "rejected"
    UNDECIDED = "undecided"
    PASS = "pass"


EXIT_CODES: Mapping[Outcome, int] = {
    Outcome.PASS: 0,
    Outcome.REJECTED: 1,
    Outcome.UNDECIDED: 2,
    Outcome.FAILED: 3,
    Outcome.ENVIRONMENT: 69,
}


class Record:
    """Base of all records: JSON with unknown fields, NaN or infinity is refused (read by pydantic)."""

    __slots__ = ()
    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Workload(Record):
    """One attention problem: q, k and v of shape (batch, heads, seq_len, head_dim)."""

    batch: int
    heads: int
    seq_len: int
    head_dim: int
    dtype: Dtype = "float16"
    causal: bool = False

    def __post_init__(self) -> None:
        _require(min(self.shape) >= 1, f"a workload's sizes are at least 1, not {self.shape}")
        _require(self.dtype in DTYPE_BYTES, f"dtype is one of {', '.join(DTYPE_BYTES)}, not {self.dtype}")

    def __str__(self) -> str:
        sizes = ",".join(map(str, self.shape))
        return f"{sizes} {self.dtype}{' causal' if self.causal else ''}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, heads, seq_len, head_dim)."""
        return self.batch, self.heads, self.seq_len, self.head_dim

    @property
    def flops(self) -> int:
        """Floating-point operations of QKᵀ and PV; softmax, as is usual, is not counted."""
        pairs = self.seq_len * (self.seq_len + 1) // 2 if self.causal else self.seq_len**2
        return 4 * self.batch * self.heads * pairs * self.head_dim

    @property
    def bytes(self) -> int:
        """The least that must move: q, k and v read once, the output written once."""
        return 4 * math.prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Environment(Record):
    """What the measurement ran on."""

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
        _require(self.status in allowed, f"a build cannot end as {self.status}")
        _require(self.status is Status.OK or self.library is None, "a build that failed has no library")
        _require(self.status is Status.OK or bool(self.message), "a build that failed says why")


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
        _require(self.status is not Status.BUILD_FAILED, "a check cannot end as build_failed")
        failed = [check.name for check in self.checks if not check.passed]
        if self.status is Status.OK:
            _require(bool(self.checks) and not failed, f"status ok contradicts its checks: {failed or 'none ran'}")
            _require(self.sdpa_max_abs_err is not None, "status ok needs the error of SDPA")
        else:
            _require(bool(self.message), "a failed check says why")
            _require(self.status is not Status.INCORRECT or bool(failed), "incorrect needs a failed check")


@dataclass(frozen=True, slots=True)
class Arm(Record):
    """One thing timed in a trial: its role, and what plays it (an IMPL, `sdpa:flash`, `empty`)."""

    name: str
    implementation: str


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

    def __post_init__(self) -> None:
        _require(len(self.times_ms) > 0, "a replicate has at least one round")
        for times in self.times_ms:
            _require(all(math.isfinite(t) and t > 0 for t in times), "a time is finite and positive")
        arms = sorted(set(self.creation_order))
        _require(len(arms) == len(self.creation_order), "an arm was created twice")
        _require(all(len(times) == len(arms) for times in self.times_ms), "every round times every arm once")


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
        _require(len(set(names)) == len(names) > 0, f"arms have names of their own, not {names}")
        for replicate in self.replicates:
            _require(set(replicate.creation_order) == set(names), "a replicate has other arms than its trial")
        _require(list(self.looks) == sorted(set(self.looks)), f"looks increase, not {list(self.looks)}")
        if self.status is Status.OK:
            _require(bool(self.replicates), "a trial that is ok has replicates")
            stopped = not self.looks or len(self.replicates) in self.looks
            _require(stopped, f"{len(self.replicates)} replicates are not at one of the looks {list(self.looks)}")
        else:
            _require(bool(self.message), "a trial that failed says why")
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
        _require(not self.median_ms or agrees, "median_ms disagrees with the samples")
        object.__setattr__(self, "median_ms", medians)


@dataclass(frozen=True, slots=True)
class Evaluation(Record):
    """Everything seen of a candidate on one workload; what follows a failed stage is absent.

    `sdpa` is the trial of SDPA's backends that chose the baseline, where the baseline was to be the best.
    """

    workload: Workload
    correctness: Correctness | None = None
    sdpa: Trial | None = None
    trial: Trial | None = None

    def __post_init__(self) -> None:
        failed = self.correctness is not None and self.correctness.status is not Status.OK
        _require(not (failed and self.trial is not None), "a candidate that failed its check is not timed")


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
        _require(bool(self.workloads), "a measurement asks for at least one workload")
        _require((self.impl is None) == (self.build is None), "a candidate has a build, and SDPA has none")
        if self.build is not None and self.build.status is not Status.OK:
            _require(not self.evaluations, "what was not built cannot be evaluated")
        seen = [evaluation.workload for evaluation in self.evaluations]
        _require(len(set(seen)) == len(seen), "a workload is evaluated once")


@dataclass(frozen=True, slots=True)
class Policy(Record):
    """What a candidate must show (the `[gates]` of gate.toml)."""

    alpha: float = 0.05
    speedup: float = 0.95
    strict: bool = False
    min_replicates: int = 5
    control_alpha: float = 0.01
    control_margin: float = 0.0025
    margin: float = 0.03
    improvement: float = 0.10
    cliffs_delta: float = 0.3
    session_sd: float = 0.005
    ratio_session_sd: float = 0.003

    def __post_init__(self) -> None:
        for name in ("alpha", "control_alpha"):
            value = getattr(self, name)
            _require(0 < value < 1, f"{name} lies between 0 and 1, not at {value}")
        for name in ("control_margin", "margin", "improvement", "cliffs_delta", "session_sd", "ratio_session_sd"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{name} lies in [0, 1), not at {value}")
        _require(0 < self.speedup <= 1, f"speedup, a ratio of times, lies in (0, 1], not at {self.speedup}")
        _require(self.min_replicates >= 2, "fewer than 2 replicates show no spread")


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """A ratio of times with its interval, and the p-value of it being 1.

    All but the point are absent where there were too few replicates, or no spread between them.
    """

    point: float
    low: float | None
    high: float | None
    confidence: float
    replicates: int
    p_value: float | None = None

    def __post_init__(self) -> None:
        _require(math.isfinite(self.point) and self.point > 0, "a ratio of times is positive")
        _require(
            (self.low is None) == (self.high is None) == (self.p_value is None), "an interval is whole or absent"
        )
        if self.low is not None and self.high is not None:
            _require(self.low <= self.point <= self.high, "a point lies within its interval")


@dataclass(frozen=True, slots=True)
class Comparison(Record):
    """Candidate against baseline on one workload. `ratio` below 1 is faster; `control` is the A/A ratio."""

    workload: Workload
    baseline: str
    candidate: str
    paired: bool
    baseline_ms: float
    candidate_ms: float
    ratio: Estimate
    control: Estimate | None = None
    floor_ms: float | None = None
    smallest_difference: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate(Record):
    """One gate on one workload: what it said, and on what evidence."""

    name: str
    workload: Workload | None
    outcome: Outcome
    evidence: str


@dataclass(frozen=True, slots=True)
class Verdict(Record):
    """The answer: reason and next step are one sentence each."""

    outcome: Outcome
    reason: str
    next_step: str
    gates: tuple[Gate, ...]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(bool(self.gates), "a verdict rests on at least one gate")
        worst = min((gate.outcome for gate in self.gates), key=list(Outcome).index)
        _require(self.outcome is worst, f"verdict {self.outcome} contradicts its gates, which say {worst}")

    @property
    def exit_code(self) -> int:
        """0 pass, 1 rejected, 2 undecided, 3 the candidate failed, 69 the environment is unfit."""
        return EXIT_CODES[self.outcome]


@dataclass(frozen=True, slots=True)
class Run(Record):
    """A measurement, the policy it was judged by, and the verdict that follows from the two."""

    measurement: Measurement
    policy: Policy
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    kind: Literal["run"] = "run"
    schema_version: Literal[1] = SCHEMA_VERSION
