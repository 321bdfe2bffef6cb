"""What a device cannot beat: the time to read the inputs, and the time to do the arithmetic, at its peaks."""

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
"""Of one multiprocessor's tensor cores, dense, in 16 bits; from NVIDIA's architecture white papers."""


def floor_ms(workload: Workload, gpu: Gpu) -> float | None:
    """The least time for one call, in milliseconds; None where the GPU's peaks are not known.

    Inputs are read once, since they are flushed from the cache; the output may stay in it. Clocks are the highest.
    """
    floors = [floor for floor in (_memory_ms(workload, gpu), _arithmetic_ms(workload, gpu)) if floor is not None]
    return max(floors, default=None)


def peak_bytes_per_s(gpu: Gpu) -> float | None:
    """What the memory moves at its highest clock; None where the driver does not tell."""
    if not (gpu.memory_clock_max_mhz and gpu.memory_bus_bits):
        return None
    return gpu.memory_clock_max_mhz * 1e6 * 2 * gpu.memory_bus_bits / 8  # two transfers a cycle


def peak_flops_per_s(gpu: Gpu, dtype: str) -> float | None:
    """What the tensor cores compute at the highest clock; None for an architecture that is not in the table."""
    per_cycle = FLOPS_PER_CYCLE.get(gpu.capability)
    if per_cycle is None or not (gpu.sm_count and gpu.sm_clock_max_mhz):
        return None
    if dtype == "float32":
        per_cycle //= 2  # TF32, the fastest that 32-bit inputs can have
    return per_cycle * gpu.sm_count * gpu.sm_clock_max_mhz * 1e6


def _memory_ms(workload: Workload, gpu: Gpu) -> float | None:
    peak = peak_bytes_per_s(gpu)
    return None if peak is None else 1e3 * workload.bytes * 3 / 4 / peak


def _arithmetic_ms(workload: Workload, gpu: Gpu) -> float | None:
    peak = peak_flops_per_s(gpu, workload.dtype)
    return None if peak is None else 1e3 * workload.flops / peak
