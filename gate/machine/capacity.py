"""Refuses workloads that need more memory than the machine has, before torch is imported. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gate.errors import BadInputError, UnfitEnvironmentError
from gate.machine import nvml
from gate.machine.host import memory_bytes
from gate.records import Workload
from gate.settings.model import LimitSettings

COPIES = 3
"""Minimum number of copies of q, k, v and output: the ones used, the ones to compare with, and float64 of both."""
SCORE_BYTES = 16
"""Per element of one head's score matrix in the oracle: float64, before and after softmax (gate/check/oracle.py)."""
MAX_GPU_BYTES = 4 << 40
"""More than any GPU has; the limit if no driver reports the memory."""
SMALLER = "choose a smaller shape"


def require_enough_memory(
    workloads: Iterable[Workload], device: str, limits: LimitSettings, *, checked: bool
) -> None:
    """Raises BadInputError for a workload that needs more memory than the device has, or than a process may use.

    `checked`: the workload is compared with the oracle, which needs more memory than timing.
    """
    bounds = list(_bounds(device, limits))
    for workload in workloads:
        needed = min_bytes(workload, checked=checked)
        for available, explanation in bounds:
            if needed > available:
                raise BadInputError(
                    f"{workload} needs at least {_gigabytes(needed)}, but {explanation.format(_gigabytes(available))}"
                )


def min_bytes(workload: Workload, *, checked: bool) -> int:
    """The minimum number of bytes that timing a workload needs, or checking it."""
    return COPIES * workload.bytes + (SCORE_BYTES * workload.seq_len**2 if checked else 0)


def _bounds(device: str, limits: LimitSettings) -> Iterator[tuple[int, str]]:
    """Available bytes, and a message with their source and a remedy; limits that nobody can change come first."""
    if device == "cuda":
        known = _gpu_bytes()
        yield known or MAX_GPU_BYTES, f"{'this GPU has' if known else 'no GPU has more than'} {{}}; {SMALLER}"
        return
    yield memory_bytes(), f"this machine has {{}}; {SMALLER}"
    yield limits.memory_mb << 20, f"limits.memory_mb allows {{}}; {SMALLER}, or `--set limits.memory_mb=...`"


def _gpu_bytes() -> int | None:
    """Memory of the first visible GPU in bytes; None if no driver reports it."""
    try:
        return nvml.describe_gpu(nvml.visible_index()).memory_bytes
    except UnfitEnvironmentError:
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GB" if size < 2**50 else f"{size / 2**30:.1e} GB"
