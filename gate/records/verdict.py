"""The judgement: policy, comparisons, gates and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from gate.records.base import SCHEMA_VERSION, Record, SchemaVersion, Status, require, require_times
from gate.records.build import ResourceLimits
from gate.records.evidence import Measurement
from gate.records.gpu import COUNTERS
from gate.records.workload import Workload


class Outcome(StrEnum):
    """The outcome of a gate or a verdict. If gates disagree, the first in this order wins."""

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
    session_sd: float = 0.01
    ratio_session_sd: float = 0.005
    clock_tolerance: float = 0.10
    witness_tolerance: float = 0.25
    require_profile: bool = False
    counters_tolerance: float = 0.5
    accept_unmeasured: tuple[str, ...] = ()
    """Counters of a GPU (gate/records/gpu.py) that may be unmeasured."""
    resources: ResourceLimits = field(default_factory=ResourceLimits)

    def __post_init__(self) -> None:
        for name in ("alpha", "control_alpha"):
            value = getattr(self, name)
            require(0 < value < 1, f"{name} lies between 0 and 1, not at {value}")
        for name in (
            "control_margin",
            "margin",
            "improvement",
            "cliffs_delta",
            "session_sd",
            "ratio_session_sd",
            "clock_tolerance",
            "witness_tolerance",
            "counters_tolerance",
        ):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name} lies in [0, 1), not at {value}")
        require(0 < self.speedup <= 1, f"speedup, a ratio of times, lies in (0, 1], not at {self.speedup}")
        unknown = sorted(set(self.accept_unmeasured) - set(COUNTERS))
        require(not unknown, f"accept_unmeasured names {', '.join(unknown)}; the counters are {', '.join(COUNTERS)}")
        require(self.min_replicates >= 2, "fewer than 2 replicates show no spread")


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """A ratio of times with its interval, and the p-value of the hypothesis that the ratio is 1.

    Only the point is present if there are too few replicates, or if they do not differ.
    """

    point: float
    low: float | None
    high: float | None
    confidence: float
    replicates: int
    p_value: float | None = None

    def __post_init__(self) -> None:
        require(math.isfinite(self.point) and self.point > 0, "a ratio of times is positive")
        require((self.low is None) == (self.high is None) == (self.p_value is None), "an interval is whole or absent")
        if self.low is not None and self.high is not None:
            require(self.low <= self.point <= self.high, "a point lies within its interval")

    def __str__(self) -> str:
        """As `0.912 [0.905, 0.919]`; the point alone without an interval."""
        if self.low is None or self.high is None:
            return f"{self.point:.3f}"
        return f"{self.point:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def speedup(self) -> str:
        """The inverse of the ratio and of its interval, as `1.250× [1.220, 1.290]`."""
        point = f"{1 / self.point:.3f}×"
        if self.low is None or self.high is None:
            return point
        return f"{point} [{1 / self.high:.3f}, {1 / self.low:.3f}]"


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
    empty_launch_ms: float | None = None
    detectable_difference: float | None = None
    warnings: tuple[str, ...] = ()
    physical_floor_ms: float | None = None
    """What the device's peaks allow: with `baseline_ms` and `candidate_ms`, the headroom. Null: not computed."""
    merge_base_ms: float | None = None
    """The median of the candidate as of the merge base. Null: not measured."""
    merge_base_ratio: Estimate | None = None
    """Candidate over merge base, paired within rounds. Null: not measured."""

    def __post_init__(self) -> None:
        require_times(time for time in (self.physical_floor_ms, self.merge_base_ms) if time is not None)


@dataclass(frozen=True, slots=True)
class Gate(Record):
    """One gate on one workload: its outcome and its evidence."""

    name: str
    workload: Workload | None
    outcome: Outcome
    evidence: str


@dataclass(frozen=True, slots=True)
class Verdict(Record):
    """The verdict; reason and next step are one sentence each."""

    outcome: Outcome
    reason: str
    next_step: str
    gates: tuple[Gate, ...]
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.gates), "a verdict rests on at least one gate")
        worst = min((gate.outcome for gate in self.gates), key=list(Outcome).index)
        require(self.outcome is worst, f"verdict {self.outcome} contradicts its gates, which say {worst}")

    @property
    def exit_code(self) -> int:
        """0 pass, 1 rejected, 2 undecided, 3 the candidate failed, 69 the environment is unfit."""
        return EXIT_CODES[self.outcome]


@dataclass(frozen=True, slots=True)
class Run(Record):
    """A measurement, the policy, and the verdict that follows from both."""

    measurement: Measurement
    policy: Policy
    comparisons: tuple[Comparison, ...]
    verdict: Verdict
    kind: Literal["run"] = "run"
    schema_version: SchemaVersion = SCHEMA_VERSION


OUTCOMES = {
    Status.OK: Outcome.PASS,
    Status.INCORRECT: Outcome.REJECTED,
    Status.UNSUPPORTED: Outcome.REJECTED,
    Status.TOO_SLOW: Outcome.REJECTED,
    Status.BUILD_FAILED: Outcome.FAILED,
    Status.CRASHED: Outcome.FAILED,
    Status.TIMED_OUT: Outcome.FAILED,
    Status.OUT_OF_MEMORY: Outcome.FAILED,
    Status.ENVIRONMENT: Outcome.ENVIRONMENT,
}
