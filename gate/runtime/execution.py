"""Runs one implementation on one workload, in its own buffers: refresh the inputs, launch, check the effects."""

from __future__ import annotations

import random

import torch

from gate.records import CONTIGUOUS, NORMAL, Distribution, Layout, Workload
from gate.runtime.device import Captured, Device
from gate.runtime.guarded_tensor import GuardedTensor
from gate.runtime.implementations import Implementation, Operands
from gate.runtime.inputs import fill

INPUTS = ("q", "k", "v")


class Execution:
    """Owns q, k, v and out, each (batch, heads, seq_len, head_dim). A seed reproduces the inputs: no copy is kept.

    `capture`: launches the captured call (a CUDA graph) instead of the call itself. Raises CaptureError.
    """

    def __init__(
        self,
        device: Device,
        implementation: Implementation,
        workload: Workload,
        rng: random.Random,
        capture: bool = False,
        layout: Layout = CONTIGUOUS,
    ) -> None:
        self._shape, self._dtype = workload.shape, getattr(torch, workload.dtype)
        self._buffers = {
            name: GuardedTensor(device, self._shape, self._dtype, rng, layout) for name in (*INPUTS, "out")
        }
        self.scale, self.causal = workload.head_dim**-0.5, workload.causal
        tensors = {name: buffer.tensor for name, buffer in self._buffers.items()}
        bound = implementation.bind(Operands(**tensors, scale=self.scale, causal=self.causal), device)
        if bound.workspace is not None:
            self._buffers["workspace"] = bound.workspace
        self._device, self._implementation = device, implementation
        self._output = tensors["out"]
        self._seed, self._distribution = 0, NORMAL
        captured = Captured(bound.launch)
        if capture:
            with implementation.selected():
                captured = device.capture(bound.launch)
        self._launch = captured.launch
        self._target = tensors["out"] if captured.output is None else captured.output

    def refresh(self, seed: int, distribution: Distribution = NORMAL) -> None:
        """Fills the inputs from `seed`, and the output with NaN: elements that the call does not write stay NaN."""
        self._seed, self._distribution = seed, distribution
        fill([self._buffers[name].tensor for name in INPUTS], seed, distribution)
        self._poison()

    def run(self) -> torch.Tensor:
        """Runs once, untimed, and returns the output. Raises CandidateError."""
        with self._implementation.selected():
            self._output = self._launch()
        self._device.synchronize()
        return self._output

    def time_ms(self) -> float:
        """Runs once from a cold cache and returns the milliseconds; `output` is then the output of the timed run."""
        with self._implementation.selected():
            elapsed, self._output = self._device.time(self._launch, self._poison)
        return elapsed

    def time_batch(self, count: int) -> tuple[float, float] | None:
        """Runs `count` times in a row: total milliseconds by the device's clock and by the host's.

        None if the device has no clock of its own.
        """
        with self._implementation.selected():
            return self._device.time_batch(self._launch, count)

    def synchronize(self) -> None:
        """Waits until the device has finished all work."""
        self._device.synchronize()

    def _poison(self) -> None:
        self._target.fill_(float("nan"))

    @property
    def output(self) -> torch.Tensor:
        """The output of the last run."""
        return self._output

    def pristine_inputs(self) -> list[torch.Tensor]:
        """q, k and v as they were before the run: generated again, contiguous."""
        inputs = [torch.empty(self._shape, dtype=self._dtype, device=self._device.kind) for _ in INPUTS]
        fill(inputs, self._seed, self._distribution)
        return inputs

    def changed_inputs(self, pristine: list[torch.Tensor]) -> list[str]:
        """Names of the inputs that the run wrote to."""
        pairs = zip(INPUTS, pristine, strict=True)
        return [name for name, before in pairs if not torch.equal(self._buffers[name].tensor, before)]

    def differences(self, pristine: list[torch.Tensor]) -> list[torch.Tensor]:
        """For each of q, k and v, whether the run wrote to it: on the device, since reading it would wait."""
        return [(self._buffers[name].tensor != before).any() for name, before in zip(INPUTS, pristine, strict=True)]

    def overrun(self) -> list[str]:
        """Names of the buffers with a write out of bounds."""
        return [name for name, buffer in self._buffers.items() if not buffer.intact()]

    def replaced(self) -> list[str]:
        """Names of the buffers whose tensor was modified, with the changed properties: `out (shape, storage)`."""
        changed = {name: buffer.replaced() for name, buffer in self._buffers.items()}
        return [f"{name} ({', '.join(properties)})" for name, properties in changed.items() if properties]
