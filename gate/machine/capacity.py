"""Whether a machine can hold what a request asks for: known before torch is imported. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gate.errors import BadInputError, UnfitEnvironmentError
from gate.machine import nvml
from gate.machine.host import memory_bytes
from gate.records import Workload
from gate.settings.model import LimitSettings

COPIES = 3
"""At the least, of q, k, v and the output: those that are used, those they are compared with, and float64 of both."""
SCORE_BYTES = 16
"""Of one head's score matrix in the oracle: float64, before and after the softmax (gate/check/oracle.py)."""
MAX_GPU_BYTES = 4 << 40
"""More than any GPU has: what is refused where no driver tells."""
SMALLER = "choose a smaller shape"


def refuse_impossible(workloads: Iterable[Workload], device: str, limits: LimitSettings, *, checked: bool) -> None:
    """Raises BadInputError for a workload that needs more memory than there is, or than a process may have.

    `checked`: held against the oracle, which needs more.
    """
    bounds = list(_bounds(device, limits))
    for each in workloads:
        needed = least_bytes(each, checked=checked)
        for most, whose in bounds:
            if needed > most:
                raise BadInputError(
                    f"{each} needs {_gigabytes(needed)} at least, and {whose.format(_gigabytes(most))}"
                )


def least_bytes(workload: Workload, *, checked: bool) -> int:
    """What timing a workload takes at the least, or checking it."""
    return COPIES * workload.bytes + (SCORE_BYTES * workload.seq_len**2 if checked else 0)


def _bounds(device: str, limits: LimitSettings) -> Iterator[tuple[int, str]]:
    """Bytes, and what has no more than those, with a remedy; what cannot be changed comes first."""
    if device == "cuda":
        known = _gpu_bytes()
        yield known or MAX_GPU_BYTES, f"{'this GPU has' if known else 'no GPU has more than'} {{}}; {SMALLER}"
        return
    yield memory_bytes(), f"this machine has {{}}; {SMALLER}"
    yield limits.memory_mb << 20, f"limits.memory_mb allows {{}}; {SMALLER}, or `--set limits.memory_mb=...`"


def _gpu_bytes() -> int | None:
    """The first visible GPU's memory; None where no driver says."""
    try:
        return nvml.describe_gpu(nvml.visible_index()).memory_bytes
    except UnfitEnvironmentError:
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GB" if size < 2**50 else f"{size / 2**30:.1e} GB"
