"""The physical floor: the time to read the inputs, and the time for the arithmetic, at the device's peaks."""

from __future__ import annotations

from collections.abc import Mapping

from gate.records import Gpu, Workload

FLOPS_PER_CYCLE: Mapping[tuple[int, int], int] = {
    (7, 0): 1024,
    (7, 5): 1024,
    (8, 0): 2048,
    (8, 6): 1024,
    (8, 7): 2048,
    (8, 9): 1024,
    (9, 0): 4096,
}
"""Flops per cycle of one multiprocessor's tensor cores, dense, 16-bit; from NVIDIA's architecture white papers."""


def floor_ms(workload: Workload, gpu: Gpu) -> float | None:
    """The physical floor of one call in milliseconds, at the maximum clocks; None if the GPU's peaks are unknown.

    The caches are flushed, so the inputs are read once from DRAM; the output may stay in the cache.
    """
    floors = [floor for floor in (_memory_ms(workload, gpu), _arithmetic_ms(workload, gpu)) if floor is not None]
    return max(floors, default=None)


def peak_bytes_per_s(gpu: Gpu) -> float | None:
    """DRAM bandwidth at the maximum memory clock; None if the driver does not report it."""
    if not (gpu.memory_clock_max_mhz and gpu.memory_bus_bits):
        return None
    return gpu.memory_clock_max_mhz * 1e6 * 2 * gpu.memory_bus_bits / 8  # two transfers a cycle


def peak_flops_per_s(gpu: Gpu, dtype: str) -> float | None:
    """Tensor-core throughput at the maximum clock; None for an architecture that is not in the table."""
    per_cycle = FLOPS_PER_CYCLE.get(gpu.capability)
    if per_cycle is None or not (gpu.sm_count and gpu.sm_clock_max_mhz):
        return None
    if dtype == "float32":
        per_cycle //= 2  # TF32, the fastest mode for 32-bit inputs
    return per_cycle * gpu.sm_count * gpu.sm_clock_max_mhz * 1e6


def _memory_ms(workload: Workload, gpu: Gpu) -> float | None:
    peak = peak_bytes_per_s(gpu)
    return None if peak is None else 1e3 * workload.bytes * 3 / 4 / peak


def _arithmetic_ms(workload: Workload, gpu: Gpu) -> float | None:
    peak = peak_flops_per_s(gpu, workload.dtype)
    return None if peak is None else 1e3 * workload.flops / peak
