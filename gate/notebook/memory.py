"""How much memory a piece of work takes, and whether it comes close to all there is. 1 MB is 2**20 bytes."""

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
    """Memory within its context: on the GPU once PyTorch uses one, else what this process holds in RAM.

    On the GPU it is what PyTorch's allocator has handed out on the current device; a kernel's own allocations are
    not seen. After the context, the numbers stay. Trackers nest; all must be of one thread.
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
        """The most that was held at one time."""
        self._look()
        return _chosen(self._peak) / MB

    @property
    def current_mb(self) -> float:
        """What is held now, or was on leaving."""
        self._look()
        return _chosen(self._seen) / MB

    @property
    def delta_mb(self) -> float:
        """What has been added since entering; negative where memory was given back."""
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
    """How close a peak comes to all the memory there is."""

    risk: bool
    percent: float
    message: str


def check_oom_risk(peak_mb: float, total_mb: float) -> OomRisk:
    """Whether `peak_mb` is 85% of `total_mb` or more; then a UserWarning says so too.

    The warning is for scripts that ignore the result; filter it like any other. A peak that is not a
    number is a risk. Raises BadInputError where there is no memory at all.
    """
    if not total_mb > 0:
        raise BadInputError(f"total_mb is the device's memory, more than 0, not {total_mb}")
    percent = 100 * peak_mb / total_mb
    risk = not percent < OOM_PERCENT
    message = f"{peak_mb:.0f} of {total_mb:.0f} MB in use at the peak ({percent:.0f}%)"
    if risk:
        message += f": at {OOM_PERCENT:.0f}% and more, a longer sequence or a larger batch may run out of memory"
        warnings.warn(message, stacklevel=2)
    return OomRisk(risk, percent, message)


class _Both(NamedTuple):
    """Bytes in RAM and on the GPU: which of the two counts is known only once the work has begun."""

    ram: int
    gpu: int


def _chosen(both: _Both) -> int:
    return both.gpu if _cuda() is not None else both.ram


def _cuda() -> Any:
    """torch.cuda where this process uses it already; asking imports and starts nothing."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _current() -> _Both:
    cuda = _cuda()
    return _Both(_status_bytes("VmRSS") or 0, cuda.memory_allocated() if cuda else 0)


def _peaks() -> _Both:
    """Since the last reset; of RAM, where the kernel lets nobody reset it, since the process began."""
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
