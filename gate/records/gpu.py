"""What the driver says of a GPU: what it is, how it fares at one moment, and what disturbed it between two.

Whatever NVML may answer with "not supported" is optional, and None then means "not measured", never zero.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gate.records.base import Record, require, require_counts

DISTURBING_REASONS = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""Throttle reasons that come and go with heat and supply. The others are how the card is set up or normally works:
idle, clocks that were chosen, sync boost, and the power cap, which hard work reaches on a healthy card."""
DISTURBING_POLICIES = ("thermal", "board_limit")
"""Violation counters of the same causes; a power brake counts as board limit."""
CAPPED_POLICIES = ("power", "reliability", "sync_boost")
HOT_C = 80


@dataclass(frozen=True, slots=True)
class Gpu(Record):
    """A GPU and its set-up. `uuid_hash` tells two of one model apart without naming either.

    `cuda`, `cudnn` and `triton` are the versions that PyTorch runs with, and `driver` that of the kernel module.
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
    throttle_reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(re.fullmatch(r"[0-9a-f]{16}", self.uuid_hash) is not None, "uuid_hash is 16 hexadecimal digits")
        capability = re.fullmatch(r"\d+\.\d+", self.compute_capability)
        require(capability is not None, f"a compute capability is like 8.9, not {self.compute_capability!r}")
        require_counts((self.sm_count, self.sm_clock_max_mhz, self.memory_clock_max_mhz, self.memory_bus_bits))

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability as numbers, which compare as they should."""
        major, minor = map(int, self.compute_capability.split("."))
        return major, minor


@dataclass(frozen=True, slots=True)
class GpuState(Record):
    """One look at a GPU.

    `throttled_ns` has, per policy, how long it held the clocks down since the driver was loaded; `ecc_errors` counts
    those that could not be corrected. `recovery_action` is what the driver says the GPU needs; None where nothing.
    """

    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    throttled_ns: Mapping[str, int] = field(default_factory=dict)
    ecc_errors: int | None = None
    foreign_processes: int = 0
    recovery_action: str | None = None

    def __post_init__(self) -> None:
        counts = (self.foreign_processes, self.ecc_errors or 0, *self.throttled_ns.values())
        require(all(count >= 0 for count in counts), "processes, errors and throttled times are not negative")

    @property
    def slowed_by(self) -> tuple[str, ...]:
        """The throttle reasons of now that make a timing worthless."""
        return tuple(reason for reason in DISTURBING_REASONS if reason in self.throttle_reasons)


@dataclass(frozen=True, slots=True)
class Telemetry(Record):
    """The GPU just before and just after a replicate. What happened between shows in counters alone."""

    before: GpuState
    after: GpuState

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Why the replicate must be repeated; empty where nothing speaks against it."""
        slowed = dict.fromkeys((*self.before.slowed_by, *self.after.slowed_by, *self._grown(DISTURBING_POLICIES)))
        foreign = max(look.foreign_processes for look in self._looks)
        action = self.after.recovery_action or self.before.recovery_action
        return (
            *((f"throttled ({', '.join(slowed)})",) if slowed else ()),
            *((f"other processes on the GPU ({foreign})",) if foreign else ()),
            *(("errors that ECC could not correct",) if self._ecc_errors_grew else ()),
            *((f"the GPU needs recovery ({action})",) if action else ()),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know of a replicate that counts all the same."""
        hottest = max((look.temperature_c for look in self._looks if look.temperature_c is not None), default=0)
        said_capped = any("sw_power_cap" in look.throttle_reasons for look in self._looks)
        capped = dict.fromkeys((*(("power",) if said_capped else ()), *self._grown(CAPPED_POLICIES)))
        return (
            *((f"the GPU was at {hottest} °C, over {HOT_C} °C",) if hottest > HOT_C else ()),
            *((f"clocks were capped ({', '.join(capped)})",) if capped else ()),
        )

    @property
    def _looks(self) -> tuple[GpuState, GpuState]:
        return self.before, self.after

    def _grown(self, policies: tuple[str, ...]) -> tuple[str, ...]:
        """Of these policies, those that held the clocks down in between. A counter seen once only tells nothing."""
        first, last = self.before.throttled_ns, self.after.throttled_ns
        return tuple(name for name in policies if name in first and last.get(name, 0) > first[name])

    @property
    def _ecc_errors_grew(self) -> bool:
        first, last = self.before.ecc_errors, self.after.ecc_errors
        return first is not None and last is not None and last > first
