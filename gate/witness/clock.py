"""The witness's clock: it starts before the inputs are written and stops after the outputs are copied."""

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
    """The tensors of one batch, and the time of work on them, in this process or in another one.

    Work that starts too early slows the writing of the inputs, and work still queued at `done` delays the copy of the
    outputs: both are part of the time. The time of the writing and copying alone is measured first and subtracted.
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
        self.trusted, self.candidate = SharedTensors(ours, witness_batch), SharedTensors(theirs, witness_batch)
        self.private_inputs, self.outputs = hidden.inputs, hidden.out
        self.refill()
        self._idle_ms = min(self._whole_ms(self.trusted, lambda: None) for _ in range(TRIES))

    def refill(self) -> None:
        """Draws new random inputs."""
        self._device.fill_unpredictable(self.private_inputs)

    def warm_up(self) -> None:
        """Gives both processes inputs for their warm-up."""
        self.refill()
        for tensors in (self.trusted, self.candidate):
            tensors.inputs.copy_(self.private_inputs)
        self._device.synchronize()

    def time_ms(self, tensors: SharedTensors, work: Callable[[], None]) -> float:
        """Milliseconds of the work; `outputs` is a copy of its outputs from before the clock stopped."""
        return max(MIN_MS, self._whole_ms(tensors, work) - self._idle_ms)

    def _whole_ms(self, tensors: SharedTensors, work: Callable[[], None]) -> float:
        tensors.out.fill_(float("nan"))
        self._device.synchronize()
        started = time.perf_counter_ns()
        tensors.inputs.copy_(self.private_inputs)
        self._device.synchronize()
        work()
        self.outputs.copy_(tensors.out)
        self._device.synchronize()
        return (time.perf_counter_ns() - started) / 1e6
