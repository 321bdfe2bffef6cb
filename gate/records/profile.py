"""What hardware counters say of one call, and what is known of its machine code without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gate.records.base import Record, Status, require, require_counts

MIN_NS = 1e-3


@dataclass(frozen=True, slots=True)
class KernelCounters(Record):
    """One launch of one kernel. A counter that could not be read is absent, never zero."""

    kernel: str
    """As the profiler demangles it."""
    grid: tuple[int, ...]
    block: tuple[int, ...]
    counters: Mapping[str, float]
    """By the names of gate/analysis/counters.py, which gives the units: nanoseconds, bytes, percent, counts."""

    def __post_init__(self) -> None:
        require(bool(self.kernel), "a kernel has a name")
        require_counts(self.counters.values())
        require(self.counters.get("duration_ns", 1.0) >= MIN_NS, "a kernel takes time")


@dataclass(frozen=True, slots=True)
class MachineCode(Record):
    """One kernel's instructions for one architecture, counted in its SASS: in the code, not in a run."""

    kernel: str
    architecture: str
    digest: str
    """Of every instruction with its operands; equal digests are equal machine code."""
    instructions: int
    mix: Mapping[str, int] = field(default_factory=dict)
    """How many instructions of each kind (HMMA, LDGSTS, BAR, ...), by their first word."""
    barriers_per_tile: int | None = None
    """Barriers in one round of the loop that does most of the arithmetic; None where there is no loop."""

    def __post_init__(self) -> None:
        counted = sum(self.mix.values())
        require_counts(self.mix.values(), least=1)
        require_counts((self.barriers_per_tile,))
        require(counted == self.instructions, f"the mix has {counted} instructions, not {self.instructions}")


@dataclass(frozen=True, slots=True)
class Ceilings(Record):
    """What the device was seen to reach: a large copy, and a large matrix product in the workload's dtype."""

    bytes_per_s: float
    flops_per_s: Mapping[str, float]
    """By dtype."""

    def __post_init__(self) -> None:
        require_counts((self.bytes_per_s, *self.flops_per_s.values()), least=1)


@dataclass(frozen=True, slots=True)
class Profile(Record):
    """Counters of one call of an implementation on one workload, kernel by kernel in the order of their launch.

    Without kernels it was not measured, and `message` says why and what to do.
    """

    implementation: str
    status: Status
    message: str = ""
    tool: str = ""
    """The profiler and its version."""
    settings: str = ""
    """The profiler's options that change what is counted."""
    kernels: tuple[KernelCounters, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """Counters that no kernel has, each with the reason."""
    claims_tensor_cores: bool = False
    """Whether its kernel.toml says that it computes on tensor cores."""
    machine_code: tuple[MachineCode, ...] = ()
    """Of the kernels that ran, where a disassembler was there."""
    ceilings: Ceilings | None = None
    seconds: float = 0.0
    """How long the profiler took, for all workloads of its run together."""

    def __post_init__(self) -> None:
        if self.status is Status.OK:
            require(bool(self.kernels), "a profile that is ok has kernels")
        else:
            require(bool(self.message) and not self.kernels, "what was not profiled says why, and has no kernels")
        seen = {name for each in self.kernels for name in each.counters}
        require(not seen & set(self.missing), "a counter is missing, or it is not")

    @property
    def measured(self) -> bool:
        """Whether there are counters."""
        return self.status is Status.OK
