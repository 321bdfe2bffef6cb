"""Measures the memory use of a piece of work, and warns of running out of memory. 1 MB is 2**20 bytes."""

from __future__ import annotations

import contextlib
import resource
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

from gate.errors import BadInputError

MB = 1 << 20
OOM_PERCENT = 85.0
RESET_HIGH_WATER = "5"  # proc(5), /proc/PID/clear_refs


class MemoryTracker:
    """Tracks memory within its context: GPU memory if PyTorch uses a GPU, else this process's RAM.

    GPU memory is what PyTorch's allocator has allocated on the current device; a kernel's own allocations are not
    included. The numbers stay after the context. Trackers nest; use all of them in one thread.
    """

    _active: ClassVar[list[MemoryTracker]] = []

    def __init__(self) -> None:
        self._start = self._seen = _Both(0, 0)
        self._peak = _Both(0, 0)

    def __enter__(self) -> MemoryTracker:
        for outer in self._active:
            outer._keep_peak()
        _reset_peaks()
        self._start = self._seen = self._peak = _current()
        self._active.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look()
        self._active.remove(self)

    @property
    def peak_mb(self) -> float:
        """The peak memory use, in MB."""
        self._look()
        return _chosen(self._peak) / MB

    @property
    def current_mb(self) -> float:
        """The memory use now, or at the end of the context, in MB."""
        self._look()
        return _chosen(self._seen) / MB

    @property
    def delta_mb(self) -> float:
        """The change since the start of the context, in MB; negative if memory was freed."""
        self._look()
        return (_chosen(self._seen) - _chosen(self._start)) / MB

    def _look(self) -> None:
        if self in self._active:
            self._seen = _current()
            self._keep_peak()

    def _keep_peak(self) -> None:
        self._peak = _Both(*map(max, self._peak, _peaks(), _current()))


@dataclass(frozen=True, slots=True)
class OomRisk:
    """A peak memory use as a percentage of the whole memory."""

    risk: bool
    percent: float
    message: str


def check_oom_risk(peak_mb: float, total_mb: float) -> OomRisk:
    """Whether `peak_mb` is at least 85% of `total_mb`; if so, it also issues a UserWarning.

    The warning is for scripts that ignore the result; filter it like any other. A peak of NaN is a risk.
    Raises BadInputError if `total_mb` is not positive.
    """
    if not total_mb > 0:
        raise BadInputError(f"total_mb is {total_mb}, but the device's memory must be more than 0")
    percent = 100 * peak_mb / total_mb
    risk = not percent < OOM_PERCENT
    message = f"{peak_mb:.0f} of {total_mb:.0f} MB in use at the peak ({percent:.0f}%)"
    if risk:
        message += f": at {OOM_PERCENT:.0f}% and more, a longer sequence or a larger batch may run out of memory"
        warnings.warn(message, stacklevel=2)
    return OomRisk(risk, percent, message)


class _Both(NamedTuple):
    """Bytes in RAM and on the GPU; which one counts is known only after the work has started."""

    ram: int
    gpu: int


def _chosen(both: _Both) -> int:
    return both.gpu if _cuda() is not None else both.ram


def _cuda() -> Any:
    """torch.cuda, if this process already uses it. Imports and initialises nothing."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _current() -> _Both:
    cuda = _cuda()
    return _Both(_status_bytes("VmRSS") or 0, cuda.memory_allocated() if cuda else 0)


def _peaks() -> _Both:
    """Peaks since the last reset; for RAM since the start of the process, if the kernel does not support a reset."""
    cuda = _cuda()
    ram = _status_bytes("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return _Both(ram, cuda.max_memory_allocated() if cuda else 0)


def _reset_peaks() -> None:
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(RESET_HIGH_WATER)


def _status_bytes(name: str) -> int | None:
    """One of the sizes in /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
