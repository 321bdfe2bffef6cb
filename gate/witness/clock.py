"""The witness's clock: it runs from before the inputs are written until the outputs are copied away."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from gate.device import Device
from gate.witness.arena import Arena
from gate.witness.messages import Bout

TRIES = 5
LEAST_MS = 1e-6


class Clock:
    """One bout's tensors, and what work on them takes: in this process, or in another that is told to do it.

    Who begins early takes the device from the writing, and what is still queued at `done` delays the copy: both are
    in the time. What writing and copying take by themselves is measured here, and taken off.
    """

    def __init__(
        self, device: Device, bout: Bout, ours: torch.Tensor, theirs: torch.Tensor, private: torch.Tensor
    ) -> None:
        self._device, hidden = device, Arena(private, bout)
        self.ours, self.theirs = Arena(ours, bout), Arena(theirs, bout)
        self.secret, self.seen = hidden.inputs, hidden.out
        self.draw()
        self._idle_ms = min(self._whole_ms(self.ours, lambda: None) for _ in range(TRIES))

    def draw(self) -> None:
        """The next inputs are others."""
        self._device.draw(self.secret)

    def rehearse(self) -> None:
        """Inputs for either process to get ready with."""
        self.draw()
        for arena in (self.ours, self.theirs):
            arena.inputs.copy_(self.secret)
        self._device.synchronize()

    def time_ms(self, arena: Arena, work: Callable[[], None]) -> float:
        """Milliseconds of the work; `seen` is what its outputs were when the clock stopped."""
        return max(LEAST_MS, self._whole_ms(arena, work) - self._idle_ms)

    def _whole_ms(self, arena: Arena, work: Callable[[], None]) -> float:
        arena.out.fill_(float("nan"))
        self._device.synchronize()
        started = time.perf_counter_ns()
        arena.inputs.copy_(self.secret)
        self._device.synchronize()
        work()
        self.seen.copy_(arena.out)
        self._device.synchronize()
        return (time.perf_counter_ns() - started) / 1e6
