"""What the driver says of a GPU: what it is, how it fares at one moment, and what disturbed it between two.

Whatever NVML may answer with "not supported" (WSL, a virtual GPU, a MIG slice) is optional, and None then means "not
measured": never zero, nor none at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from gate.records.base import Record, require, require_counts

DISTURBING_REASONS = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""Throttle reasons that come and go with heat and supply. The others are how the card is set up or normally works:
idle, clocks that were chosen, sync boost, and the power cap, which hard work reaches on a healthy card."""
DISTURBING_POLICIES = ("thermal", "board_limit")
"""Violation counters of the same causes; a power brake counts as board limit."""
CAPPED_POLICIES = ("power", "reliability", "sync_boost")
HOT_C = 80
COUNTERS = (
    "throttle_reasons", "throttled_ns", "foreign_processes", "ecc_errors", "sm_clock_mhz", "memory_clock_mhz",
    "temperature_c", "power_w",
)  # fmt: skip
"""What a look at a GPU reads, and what some GPUs do not tell; `recovery_action` is younger than many drivers."""
NO_ACTION = "none"
FAR_BELOW = Fraction(3, 4)
"""Of the highest SM clock; a file may claim one that no float holds. Clocks
that the maker calls sustained are at 0.78 of it (L4, A100) or above."""


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
    throttle_reasons: tuple[str, ...] | None = None

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
    """One look at a GPU. What is None was not measured; no throttle reasons at all are an empty tuple.

    `throttled_ns` has, per policy, how long it held the clocks down since the driver was loaded; `ecc_errors` counts
    those that could not be corrected. `recovery_action` is what the driver says the GPU needs: "none", where nothing.
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
        """The throttle reasons of now that make a timing worthless."""
        return tuple(reason for reason in DISTURBING_REASONS if reason in (self.throttle_reasons or ()))

    @property
    def needs(self) -> str | None:
        """What the driver asks for before the GPU can be relied on; None where it asks for nothing."""
        return None if self.recovery_action == NO_ACTION else self.recovery_action

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Of `COUNTERS`, those that the driver did not tell; `throttled_ns` if one that disturbs is absent."""
        absent = {name for name in COUNTERS if getattr(self, name) is None}
        if any(self.throttled_ns.get(policy) is None for policy in DISTURBING_POLICIES):
            absent.add("throttled_ns")
        return tuple(name for name in COUNTERS if name in absent)


@dataclass(frozen=True, slots=True)
class Telemetry(Record):
    """The GPU just before and just after a replicate. What happened between shows in counters alone."""

    before: GpuState
    after: GpuState

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Why the replicate must be repeated; empty where nothing speaks against it."""
        slowed = dict.fromkeys((*self.before.slowed_by, *self.after.slowed_by, *self._grown(DISTURBING_POLICIES)))
        foreign = max(look.foreign_processes or 0 for look in self._looks)
        action = self.after.needs or self.before.needs
        return (
            *((f"throttled ({', '.join(slowed)})",) if slowed else ()),
            *((f"other processes on the GPU ({foreign})",) if foreign else ()),
            *(("errors that ECC could not correct",) if self._ecc_errors_grew else ()),
            *((f"the GPU needs recovery ({action})",) if action else ()),
        )

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Of `COUNTERS`, those that were not read at both ends."""
        return tuple(name for name in COUNTERS if any(name in look.unmeasured for look in self._looks))

    def unexplained_clocks_mhz(self, highest_mhz: int) -> tuple[int, ...]:
        """SM clocks far below the highest, at which the driver said that nothing held the clock down."""
        unexplained = (look.sm_clock_mhz for look in self._looks if look.throttle_reasons == ())
        return tuple(clock for clock in unexplained if clock is not None and clock < FAR_BELOW * highest_mhz)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know of a replicate that counts all the same."""
        hottest = max((look.temperature_c for look in self._looks if look.temperature_c is not None), default=0)
        said_capped = any("sw_power_cap" in (look.throttle_reasons or ()) for look in self._looks)
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
        pairs = {name: (self.before.throttled_ns.get(name), self.after.throttled_ns.get(name)) for name in policies}
        return tuple(name for name, pair in pairs.items() if _grew(*pair))

    @property
    def _ecc_errors_grew(self) -> bool:
        return _grew(self.before.ecc_errors, self.after.ecc_errors)


def _grew(first: int | None, last: int | None) -> bool:
    return first is not None and last is not None and last > first
