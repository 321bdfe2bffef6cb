"""The clock of a GPU that one owns, held while measuring."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any

from gate.errors import UnfitEnvironmentError
from gate.machine import nvml

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], Any] | int


class ClockLock:
    """Holds a GPU's SM clock within its context, for people who own the machine (`--lock-clocks`). Needs root.

    Everyone on that GPU gets the same clock, so that this is nothing for a shared one. The clock is given back on
    leaving, and before the process ends by SIGTERM, SIGINT or SIGHUP; after SIGKILL, `nvidia-smi --reset-gpu-clocks`
    does it. Only the main thread may enter, since only it may handle signals.
    """

    def __init__(self, index: int, sm_clock_mhz: int | None = None) -> None:
        self.index, self.sm_clock_mhz = index, sm_clock_mhz
        self._former: Mapping[signal.Signals, Handler] = {}

    def __enter__(self) -> ClockLock:
        if os.geteuid() != 0:
            raise UnfitEnvironmentError("locking the clocks needs root; use sudo, or leave --lock-clocks out")
        if self.sm_clock_mhz is None:
            self.sm_clock_mhz = nvml.sustained_clock_mhz(self.index)
        self._former = {number: signal.getsignal(number) or signal.SIG_DFL for number in ENDING_SIGNALS}
        for number in ENDING_SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            nvml.lock_clocks(self.index, self.sm_clock_mhz)
        except BaseException:
            with contextlib.suppress(UnfitEnvironmentError):
                self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        """Once: the clocks first, since a signal may come between the two."""
        try:
            if self._former:
                nvml.unlock_clocks(self.index)
        finally:
            for number, handler in self._former.items():
                signal.signal(number, handler)
            self._former = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the form of a handler
        self._release()
        os.kill(os.getpid(), number)  # to whoever handled it before
