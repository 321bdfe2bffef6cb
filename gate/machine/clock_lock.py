"""Locks a GPU's SM clock while Kernel Gate measures."""

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
    """Locks a GPU's SM clock within its context, for people who own the machine (`--lock-clocks`). Needs root.

    The lock changes the clock for every user of that GPU: do not use it on a shared GPU. The clock is unlocked on
    exit from the context, and before SIGTERM, SIGINT or SIGHUP ends the process; after SIGKILL, run
    `nvidia-smi --reset-gpu-clocks`. Only the main thread may enter the context: only it may handle signals.
    Raises UnfitEnvironmentError if the user is not root, or if the driver refuses.
    """

    def __init__(self, index: int, sm_clock_mhz: int | None = None) -> None:
        self.index, self.sm_clock_mhz = index, sm_clock_mhz
        self._former: Mapping[signal.Signals, Handler] = {}

    def __enter__(self) -> ClockLock:
        if os.geteuid() != 0:
            raise UnfitEnvironmentError("locking the GPU's clocks needs root; use sudo, or omit --lock-clocks")
        if self.sm_clock_mhz is None:
            self.sm_clock_mhz = nvml.sustained_clock_mhz(self.index)
        self._former = {number: signal.getsignal(number) or signal.SIG_DFL for number in ENDING_SIGNALS}
        for number, former in self._former.items():
            if former is not signal.SIG_IGN:  # nohup ignores SIGHUP: the process lives on, with its clocks locked
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
        """Runs once. The clocks come first, because a signal may arrive between the two steps."""
        try:
            if self._former:
                nvml.unlock_clocks(self.index)
        finally:
            for number, handler in self._former.items():
                signal.signal(number, handler)
            self._former = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # signal.signal passes both
        self._release()
        os.kill(os.getpid(), number)  # runs the former handler
