"""Hardware counters of one call, and its machine code, which is counted without a run."""

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
    """One kernel's instructions for one architecture, counted in its SASS, not in a run."""

    kernel: str
    architecture: str
    digest: str
    """Over every instruction with its operands: equal digests mean equal machine code."""
    instructions: int
    mix: Mapping[str, int] = field(default_factory=dict)
    """The number of instructions by opcode (HMMA, LDGSTS, BAR, ...)."""
    barriers_per_tile: int | None = None
    """Barriers in one iteration of the loop with most of the arithmetic; None if there is no loop."""

    def __post_init__(self) -> None:
        counted = sum(self.mix.values())
        require_counts(self.mix.values(), least=1)
        require_counts((self.barriers_per_tile,))
        require(counted == self.instructions, f"the mix has {counted} instructions, not {self.instructions}")


@dataclass(frozen=True, slots=True)
class Ceilings(Record):
    """The device's measured peaks: of a large copy, and of a large matrix product in the workload's dtype."""

    bytes_per_s: float
    flops_per_s: Mapping[str, float]
    """By dtype."""

    def __post_init__(self) -> None:
        require_counts((self.bytes_per_s, *self.flops_per_s.values()), least=1)


@dataclass(frozen=True, slots=True)
class Profile(Record):
    """Counters of one call of an implementation on one workload, one record a kernel, in launch order.

    Without kernels it was not measured: `message` states the reason and what to do.
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
    """Counters that no kernel has, and why."""
    claims_tensor_cores: bool = False
    """Whether its kernel.toml claims that it computes on tensor cores."""
    machine_code: tuple[MachineCode, ...] = ()
    """Of the kernels that ran; empty without a disassembler."""
    ceilings: Ceilings | None = None
    seconds: float = 0.0
    """Of the profiler's whole run, for all its workloads."""

    def __post_init__(self) -> None:
        if self.status is Status.OK:
            require(bool(self.kernels), "a profile that is ok has kernels")
        else:
            require(bool(self.message) and not self.kernels, "a profile that is not ok has a message, and no kernels")
        measured = {name for kernel in self.kernels for name in kernel.counters}
        require(not measured & set(self.missing), "a counter cannot be both measured and missing")

    @property
    def measured(self) -> bool:
        """Whether there are counters."""
        return self.status is Status.OK
