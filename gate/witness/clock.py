"""The witness's clock: it runs from before the inputs are written until the outputs are copied away."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from gate.runtime.device import Device
from gate.witness.protocol import WitnessBatch
from gate.witness.shared_memory import SharedTensors

TRIES = 5
MIN_MS = 1e-6


class Clock:
    """One batch's tensors, and what work on them takes: in this process, or in another that is told to do it.

    Who begins early takes the device from the writing, and what is still queued at `done` delays the copy: both are
    in the time. What writing and copying take by themselves is measured here, and taken off.
    """

    def __init__(
        self,
        device: Device,
        witness_batch: WitnessBatch,
        ours: torch.Tensor,
        theirs: torch.Tensor,
        private: torch.Tensor,
    ) -> None:
        self._device, hidden = device, SharedTensors(private, witness_batch)
        self.ours, self.theirs = SharedTensors(ours, witness_batch), SharedTensors(theirs, witness_batch)
        self.secret, self.seen = hidden.inputs, hidden.out
        self.draw()
        self._idle_ms = min(self._whole_ms(self.ours, lambda: None) for _ in range(TRIES))

    def draw(self) -> None:
        """The next inputs are others."""
        self._device.fill_unpredictable(self.secret)

    def warm_up(self) -> None:
        """Inputs for either process to get ready with."""
        self.draw()
        for tensors in (self.ours, self.theirs):
            tensors.inputs.copy_(self.secret)
        self._device.synchronize()

    def time_ms(self, tensors: SharedTensors, work: Callable[[], None]) -> float:
        """Milliseconds of the work; `seen` is what its outputs were when the clock stopped."""
        return max(MIN_MS, self._whole_ms(tensors, work) - self._idle_ms)

    def _whole_ms(self, tensors: SharedTensors, work: Callable[[], None]) -> float:
        tensors.out.fill_(float("nan"))
        self._device.synchronize()
        started = time.perf_counter_ns()
        tensors.inputs.copy_(self.secret)
        self._device.synchronize()
        work()
        self.seen.copy_(tensors.out)
        self._device.synchronize()
        return (time.perf_counter_ns() - started) / 1e6
