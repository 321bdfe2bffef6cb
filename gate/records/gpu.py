"""What the driver reports of a GPU: its model, its state at one moment, and what disturbed it between two moments.

NVML answers some queries with "not supported" (WSL, a virtual GPU, a MIG slice). Such a field is None, which means
not measured; it is never zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from gate.records.base import Record, require, require_counts

DISTURBING_REASONS = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""Throttle reasons that depend on heat and power supply. The others are normal for a healthy card: idle, chosen
clocks, sync boost, and the power cap, which a heavy load reaches."""
DISTURBING_POLICIES = ("thermal", "board_limit")
"""Violation counters of the same causes; a power brake counts as board limit."""
CAPPED_POLICIES = ("power", "reliability", "sync_boost")
HOT_C = 80
COUNTERS = (
    "throttle_reasons", "throttled_ns", "foreign_processes", "ecc_errors", "sm_clock_mhz", "memory_clock_mhz",
    "temperature_c", "power_w",
)  # fmt: skip
"""Fields of GpuState that some GPUs do not report. Without `recovery_action`: many drivers are older than it."""
NO_ACTION = "none"
FAR_BELOW = Fraction(3, 4)
"""As a share of the highest SM clock. Clocks that NVIDIA calls sustained are at 0.78 of it (L4, A100) or above. It is
a fraction, because a file may claim a clock that no float holds."""


@dataclass(frozen=True, slots=True)
class Gpu(Record):
    """A GPU and its configuration. `uuid_hash` tells two GPUs of one model apart without their serial numbers.

    `cuda`, `cudnn` and `triton` are the versions that PyTorch uses; `driver` is the version of the kernel module.
    """

    model: str
    uuid_hash: str
    compute_capability: str
    sm_count: int | None = None
    l2_bytes: int | None = None
    memory_bytes: int | None = None
    driver: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    triton: str | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    memory_bus_bits: int | None = None
    power_limit_w: float | None = None
    ecc: bool | None = None
    mig: bool | None = None
    persistence: bool | None = None
    throttle_reasons: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require(re.fullmatch(r"[0-9a-f]{16}", self.uuid_hash) is not None, "uuid_hash is 16 hexadecimal digits")
        capability = re.fullmatch(r"\d+\.\d+", self.compute_capability)
        require(capability is not None, f"a compute capability is like 8.9, not {self.compute_capability!r}")
        require_counts((self.sm_count, self.sm_clock_max_mhz, self.memory_clock_max_mhz, self.memory_bus_bits))

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability as (major, minor)."""
        major, minor = map(int, self.compute_capability.split("."))
        return major, minor


@dataclass(frozen=True, slots=True)
class GpuState(Record):
    """The state of a GPU at one moment. None means not measured; an empty tuple of throttle reasons means none.

    `throttled_ns` is, per policy, the time for which it lowered the clocks since the driver was loaded. `ecc_errors`
    counts uncorrectable errors. `recovery_action` is the driver's own request, or "none".
    """

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    throttled_ns: Mapping[str, int | None] = field(default_factory=dict)
    ecc_errors: int | None = None
    foreign_processes: int | None = None
    recovery_action: str | None = None

    def __post_init__(self) -> None:
        require_counts((self.sm_clock_mhz, self.memory_clock_mhz, self.foreign_processes, self.ecc_errors))
        require_counts(self.throttled_ns.values())

    @property
    def slowed_by(self) -> tuple[str, ...]:
        """The current throttle reasons that make a timing worthless."""
        return tuple(reason for reason in DISTURBING_REASONS if reason in (self.throttle_reasons or ()))

    @property
    def needs(self) -> str | None:
        """The recovery that the driver requests before the GPU can be trusted; None if it requests nothing."""
        return None if self.recovery_action == NO_ACTION else self.recovery_action

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The `COUNTERS` that the driver did not report; `throttled_ns` if a disturbing policy has no counter."""
        absent = {name for name in COUNTERS if getattr(self, name) is None}
        if any(self.throttled_ns.get(policy) is None for policy in DISTURBING_POLICIES):
            absent.add("throttled_ns")
        return tuple(name for name in COUNTERS if name in absent)


@dataclass(frozen=True, slots=True)
class Telemetry(Record):
    """The GPU just before and just after a replicate. Only counters show what happened in between."""

    before: GpuState
    after: GpuState

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Why the replicate must be repeated; empty if nothing disturbed it."""
        slowed = dict.fromkeys((*self.before.slowed_by, *self.after.slowed_by, *self._grown(DISTURBING_POLICIES)))
        foreign = max(state.foreign_processes or 0 for state in self._states)
        action = self.after.needs or self.before.needs
        return (
            *((f"throttled ({', '.join(slowed)})",) if slowed else ()),
            *((f"other processes on the GPU ({foreign})",) if foreign else ()),
            *(("errors that ECC could not correct",) if self._ecc_errors_grew else ()),
            *((f"the GPU needs recovery ({action})",) if action else ()),
        )

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The `COUNTERS` that were not measured both before and after."""
        return tuple(name for name in COUNTERS if any(name in state.unmeasured for state in self._states))

    def unexplained_clocks_mhz(self, highest_mhz: int) -> tuple[int, ...]:
        """SM clocks far below the highest for which the driver gives no throttle reason."""
        unexplained = (state.sm_clock_mhz for state in self._states if state.throttle_reasons == ())
        return tuple(clock for clock in unexplained if clock is not None and clock < FAR_BELOW * highest_mhz)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about a replicate that counts as evidence nevertheless."""
        hottest = max((state.temperature_c for state in self._states if state.temperature_c is not None), default=0)
        reported_cap = any("sw_power_cap" in (state.throttle_reasons or ()) for state in self._states)
        capped = dict.fromkeys((*(("power",) if reported_cap else ()), *self._grown(CAPPED_POLICIES)))
        return (
            *((f"the GPU was at {hottest} °C, over {HOT_C} °C",) if hottest > HOT_C else ()),
            *((f"clocks were capped ({', '.join(capped)})",) if capped else ()),
        )

    @property
    def _states(self) -> tuple[GpuState, GpuState]:
        return self.before, self.after

    def _grown(self, policies: tuple[str, ...]) -> tuple[str, ...]:
        """The policies that lowered the clocks in between. A counter that was read only once is not compared."""
        pairs = {name: (self.before.throttled_ns.get(name), self.after.throttled_ns.get(name)) for name in policies}
        return tuple(name for name, pair in pairs.items() if _grew(*pair))

    @property
    def _ecc_errors_grew(self) -> bool:
        return _grew(self.before.ecc_errors, self.after.ecc_errors)


def _grew(first: int | None, last: int | None) -> bool:
    return first is not None and last is not None and last > first
