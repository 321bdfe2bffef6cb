"""The number of a kernel's warps that a multiprocessor can hold at once, from the kernel's resources.

The limits are from the CUDA C++ Programming Guide ("Technical Specifications per Compute Capability"), the allocation
steps from NVIDIA's cuda_occupancy.h.
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65536
"""Of a multiprocessor."""
REGISTER_STEP = 256
"""Registers are given to a warp in steps of this many."""
PARTITIONS = 4
"""Parts of a multiprocessor with registers of their own; a warp runs in one of them."""
SHARED_STEP = 128
"""Shared memory is given to a block in steps of this many bytes."""
RESERVED_SHARED_BYTES = 1024
"""The part of every block's shared memory that CUDA reserves."""
MAX_THREADS = 1024
"""In a block."""


@dataclass(frozen=True, slots=True)
class Multiprocessor:
    """The limits of one multiprocessor."""

    warps: int
    blocks: int
    shared_bytes: int


MULTIPROCESSORS = {
    "8.0": Multiprocessor(64, 32, 164 << 10),
    "8.6": Multiprocessor(48, 16, 100 << 10),
    "8.7": Multiprocessor(48, 16, 164 << 10),
    "8.9": Multiprocessor(48, 24, 100 << 10),
    "9.0": Multiprocessor(64, 32, 228 << 10),
    "10.0": Multiprocessor(64, 32, 228 << 10),
    "10.3": Multiprocessor(64, 32, 228 << 10),
    "12.0": Multiprocessor(48, 24, 100 << 10),
    "12.1": Multiprocessor(48, 24, 100 << 10),
}


@dataclass(frozen=True, slots=True)
class Occupancy:
    """The share of a multiprocessor's warps that a kernel can fill, and what limits it."""

    fraction: float
    limited_by: str


def occupancy(architecture: str, registers: int, threads: int | None, shared_bytes: int) -> Occupancy | None:
    """The occupancy of a kernel. Registers are per thread, shared memory and threads per block.

    Without `threads`, only the registers count. None for an architecture that is not in the table.
    """
    limits = MULTIPROCESSORS.get(architecture.rstrip("af"))
    if limits is None:
        return None
    warps = _warps_by_registers(registers)
    if threads is None:
        return Occupancy(min(limits.warps, warps) / limits.warps, "registers" if warps < limits.warps else "warps")
    warps_a_block = -(-threads // WARP)
    blocks = {
        "warps": limits.warps // warps_a_block,
        "registers": warps // warps_a_block,
        "shared memory": limits.shared_bytes // _rounded(shared_bytes + RESERVED_SHARED_BYTES, SHARED_STEP),
        "blocks": limits.blocks,
    }
    scarcest = min(blocks, key=lambda limit: blocks[limit])
    return Occupancy(blocks[scarcest] * warps_a_block / limits.warps, scarcest)


def _warps_by_registers(registers: int) -> int:
    """Each part of the multiprocessor holds whole warps."""
    a_warp = _rounded(max(registers, 1) * WARP, REGISTER_STEP)
    return REGISTERS // PARTITIONS // a_warp * PARTITIONS


def _rounded(value: int, step: int) -> int:
    return -(-value // step) * step
