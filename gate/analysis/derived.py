"""Derives rates, shares, the roofline and the bound of a call from its counters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gate.analysis.counters import LIMIT, LIMITERS, METRICS, SECTOR_BYTES, STALL, STALLS, Summary
from gate.analysis.roofline import peak_bytes_per_s, peak_flops_per_s
from gate.records import Ceilings, Gpu, KernelCounters, Profile, Workload

BUSY_PCT = 60.0
"""A unit at or above this share of peak is the bottleneck; the threshold of Nsight Compute's speed-of-light rule."""
LAUNCH_NS = 2000.0
"""An empty kernel takes 1.6 µs by Nsight Compute on an H200; a kernel about as short is launch overhead."""
NOT_WAITING = ("selected", "not selected")
"""Not real stalls: the warp issues, or could issue."""
OVER = {metric.name: metric.over for metric in METRICS}


class Bound(StrEnum):
    """What limits a call's speed."""

    MEMORY = "memory"
    COMPUTE = "compute"
    LATENCY = "latency"
    LAUNCH = "launch"


@dataclass(frozen=True, slots=True)
class Roof:
    """The device's ceilings; None if unknown."""

    bytes_per_s: float | None
    flops_per_s: float | None

    @property
    def ridge(self) -> float | None:
        """The intensity (flops per byte) above which arithmetic is the limit; None if a ceiling is unknown."""
        return self.flops_per_s / self.bytes_per_s if self.flops_per_s and self.bytes_per_s else None

    def flops_at(self, intensity: float) -> float | None:
        """The highest throughput (flops per second) at this intensity (flops per byte)."""
        if self.bytes_per_s is None or self.flops_per_s is None:
            return None
        return min(self.flops_per_s, intensity * self.bytes_per_s)


def theoretical_roof(gpu: Gpu | None, workload: Workload) -> Roof:
    """Ceilings from the maximum clocks and the width of the units."""
    if gpu is None:
        return Roof(None, None)
    return Roof(peak_bytes_per_s(gpu), peak_flops_per_s(gpu, workload.dtype))


def measured_roof(ceilings: Ceilings | None, workload: Workload) -> Roof:
    """Ceilings measured with a copy and a matrix product on this device."""
    if ceilings is None:
        return Roof(None, None)
    return Roof(ceilings.bytes_per_s, ceilings.flops_per_s.get(workload.dtype))


@dataclass(frozen=True, slots=True)
class Derived:
    """The derived numbers of one profile; a number whose counter is missing is None."""

    profile: Profile
    workload: Workload
    theoretical: Roof
    measured: Roof

    def total(self, name: str) -> float | None:
        """A counter of the whole call, combined by the metric's rule; None unless every kernel has it."""
        kernels = self.profile.kernels
        if not kernels or any(name not in kernel.counters for kernel in kernels):
            return None
        if OVER[name] is Summary.SUM:
            return sum(kernel.counters[name] for kernel in kernels)
        if OVER[name] is Summary.LONGEST:
            return self.longest.counters[name]
        weights = [kernel.counters.get("duration_ns", 0.0) for kernel in kernels]
        if sum(weights) <= 0:
            return None
        return sum(w * kernel.counters[name] for w, kernel in zip(weights, kernels, strict=True)) / sum(weights)

    @property
    def longest(self) -> KernelCounters:
        """The kernel that takes the most time."""
        return max(self.profile.kernels, key=lambda kernel: kernel.counters.get("duration_ns", 0.0))

    @property
    def duration_ms(self) -> float | None:
        """The sum of the kernels' durations, without the gaps between them."""
        total = self.total("duration_ns")
        return None if total is None else total / 1e6

    @property
    def flops_per_s(self) -> float | None:
        """Throughput of the workload's nominal arithmetic (QKᵀ and PV), however the kernel computes it."""
        return self._per_s(self.workload.flops)

    @property
    def dram_bytes(self) -> float | None:
        """Traffic between DRAM and L2, in both directions."""
        sectors = self.total("dram_sectors_read"), self.total("dram_sectors_write")
        return None if None in sectors else SECTOR_BYTES * sum(sector for sector in sectors if sector is not None)

    @property
    def bytes_per_s(self) -> float | None:
        """DRAM throughput, in both directions."""
        return self._per_s(self.dram_bytes)

    def _per_s(self, amount: float | None) -> float | None:
        ms = self.duration_ms
        return None if amount is None or not ms else amount / (ms / 1e3)

    @property
    def intensity(self) -> float | None:
        """Nominal arithmetic over DRAM traffic, in flops per byte."""
        moved = self.dram_bytes
        return self.workload.flops / moved if moved and moved >= 1 else None

    @property
    def roofline_share(self) -> float | None:
        """Throughput over what the roofline allows at this intensity."""
        if self.intensity is None or self.flops_per_s is None:
            return None
        allowed = self.roof.flops_at(self.intensity)
        return None if allowed is None else self.flops_per_s / allowed

    @property
    def roof(self) -> Roof:
        """The measured roof if it is known, otherwise the theoretical one."""
        return self.theoretical if None in (self.measured.bytes_per_s, self.measured.flops_per_s) else self.measured

    @property
    def conflict_share(self) -> float | None:
        """Share of shared-memory wavefronts caused by bank conflicts."""
        return _share(self.total("shared_conflicts"), self.total("shared_wavefronts"))

    @property
    def uncoalesced_share(self) -> float | None:
        """Share of the requested global-memory sectors that ideal coalescing would avoid."""
        requested, ideal = self.total("global_sectors"), self.total("global_sectors_ideal")
        return _share(None if requested is None or ideal is None else requested - ideal, requested)

    @property
    def spill_share(self) -> float | None:
        """Share of instructions that access local memory."""
        return _share(self.total("local_instructions"), self.total("instructions"))

    @property
    def traffic_excess(self) -> float | None:
        """DRAM traffic over the workload's minimum; below 1 if the output stays in the cache."""
        return _share(self.dram_bytes, self.workload.bytes)

    @property
    def limiter(self) -> str | None:
        """The resource that limits the resident blocks of the longest kernel."""
        counters = self.longest.counters
        room = {name: counters[LIMIT + name] for name in LIMITERS if LIMIT + name in counters}
        return min(room, key=lambda name: room[name]) if room else None

    @property
    def stalls(self) -> list[tuple[str, float]]:
        """Stall reasons, longest first, as shares of the time between two instructions of a warp."""
        stalls = dict(self._stalls())
        total = sum(stalls.values())
        waits = [(name, cycles / total) for name, cycles in stalls.items() if name not in NOT_WAITING and cycles > 0]
        return sorted(waits, key=lambda wait: -wait[1])

    def _stalls(self) -> Iterator[tuple[str, float]]:
        for name in STALLS:
            cycles = self.total(STALL + name)
            if cycles is not None:
                yield name, cycles

    @property
    def bound(self) -> Bound | None:
        """LAUNCH if kernels are little longer than empty ones, else the busiest unit, or LATENCY if none is busy."""
        duration, sm, memory = self.total("duration_ns"), self.total("sm_pct"), self.total("memory_pct")
        if duration is None or sm is None or memory is None:
            return None
        if LAUNCH_NS * len(self.profile.kernels) >= duration / 2:
            return Bound.LAUNCH
        arithmetic = max(sm, self.total("tensor_pct") or 0.0)
        if max(arithmetic, memory) < BUSY_PCT:
            return Bound.LATENCY
        return Bound.MEMORY if memory > arithmetic else Bound.COMPUTE


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None else part / whole if whole else 0.0


def derive(profile: Profile, workload: Workload, gpu: Gpu | None, ceilings: Ceilings | None) -> Derived:
    """The derived numbers of one profile. `ceilings` may come from another profile of the same session."""
    return Derived(profile, workload, theoretical_roof(gpu, workload), measured_roof(ceilings, workload))
