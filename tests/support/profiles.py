"""Profiles for tests: real ones, recorded, and small ones to change in the one place that a test is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gate.analysis.conditions import Subject
from gate.analysis.derived import Derived, derive
from gate.profiling.collect import by_call, counters_of
from gate.profiling.ncu_output import read_csv
from gate.records import Gpu, KernelCounters, MachineCode, Profile, Status, Workload

RECORDED = Path(__file__).parents[1] / "data" / "ncu"
FULL = RECORDED / "full_2025.3.csv"
"""Nsight Compute 2025.3.1 on an H200, `--set full`, SDPA's flash; cut off by a time-out, and trimmed."""
OURS = RECORDED / "gate_2025.3.csv"
"""The same version and GPU, 2026-11-21, the metrics that we ask for: `profile --impl wmma --shape 32,8,512,64`, less
the columns of the device's attributes."""
SMALL, MIDDLE, LARGE = Workload(1, 8, 512, 64), Workload(32, 8, 128, 64), Workload(32, 8, 512, 64)
"""The workloads of its three calls."""
H200 = Gpu(
    "NVIDIA H200", "0" * 16, "9.0", sm_count=132, sm_clock_max_mhz=1980, memory_clock_max_mhz=3201,
    memory_bus_bits=6016, ecc=True,
)  # fmt: skip
HONEST = {
    "duration_ns": 50_000.0, "instructions": 1e6, "tensor_pct": 50.0, "tensor_instructions": 1e5, "sm_pct": 50.0,
    "memory_pct": 30.0, "dram_pct": 20.0, "l1_pct": 30.0, "l2_pct": 25.0, "l2_hit_pct": 60.0,
    "dram_sectors_read": 1.6e6, "dram_sectors_write": 3e5, "occupancy_pct": 40.0, "occupancy_limit_pct": 50.0,
    "issue_pct": 50.0, "shared_conflicts": 0.0, "shared_wavefronts": 1e6, "global_sectors": 1e6,
    "global_sectors_ideal": 1e6, "local_instructions": 0.0, "registers": 128.0, "shared_bytes": 65536.0,
    "blocks": 1024.0, "threads": 128.0, "waves": 3.9, "limit: registers": 4.0, "limit: shared memory": 3.0,
    "stall: selected": 1.0, "stall: fixed latency": 0.5, "stall: global memory": 0.2, "sm_hz": 1.8e9,
}  # fmt: skip
"""Of one kernel on LARGE, bound by latency, with nothing else wrong with it."""


def recorded(call: int) -> Profile:
    """One call of the recorded profile: 0, 1 or 2."""
    launches = by_call(read_csv(FULL.read_text()))[call]
    kernels = tuple(KernelCounters(each.kernel, each.grid, each.block, counters_of(each)) for each in launches)
    return Profile("sdpa:flash", Status.OK, tool="Nsight Compute 2025.3.1", kernels=kernels)


def kernel(name: str = "attend", without: tuple[str, ...] = (), **changes: float) -> KernelCounters:
    """One kernel's counters, changed or absent where a test says so."""
    counters = HONEST | changes
    return KernelCounters(name, (1024, 1, 1), (128, 1, 1), {k: v for k, v in counters.items() if k not in without})


def profile(*kernels: KernelCounters, impl: str = "honest", **changes: Any) -> Profile:
    """A profile of these kernels, or of an honest one."""
    example = Profile(impl, Status.OK, tool="Nsight Compute 2025.3.1", kernels=kernels or (kernel(),))
    return replace(example, **changes) if changes else example


def derived(*kernels: KernelCounters, workload: Workload = LARGE, gpu: Gpu | None = H200, **changes: Any) -> Derived:
    """The numbers of such a profile."""
    return derive(profile(*kernels, **changes), workload, gpu, None)


def subject(*kernels: KernelCounters, baseline: Derived | None = None, **changes: Any) -> Subject:
    """What rules look at."""
    return Subject(derived(*kernels, **changes), baseline)


def machine_code(kernel: str = "attend", **mix: int) -> MachineCode:
    """One kernel's instructions."""
    counts = mix or {"HMMA": 10, "BAR": 2}
    return MachineCode(kernel, "9.0", "0" * 32, sum(counts.values()), counts, counts.get("BAR", 0))
