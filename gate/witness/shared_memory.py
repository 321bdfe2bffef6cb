"""Memory that two processes see: the inputs and outputs of many calls in a row."""

from __future__ import annotations

from pathlib import Path

import torch

from gate.runtime.device import Device
from gate.runtime.implementations import Operands
from gate.witness.protocol import Shared, WitnessBatch
from gate.witness.socket_channel import Channel

TENSORS = 4  # q, k, v and out


def shared_bytes(witness_batch: WitnessBatch) -> int:
    """What the calls of a batch need."""
    return witness_batch.launches * witness_batch.workload.bytes


class SharedMemory:
    """Memory of all batches that another process is to map.

    It is not freed before the last: who has mapped it may have kept it, and would read what is put there next.
    """

    def __init__(self, device: Device, size: int, folder: Path) -> None:
        self._device, self._size = device, size
        self.memory, self._handle = device.share(size, folder)

    def admit(self, channel: Channel) -> None:
        """That process, and no other after it. Raises HungUpError."""
        channel.say(Shared(self._handle, self._size))
        channel.expect("here")
        self._device.unshare(self._handle)


class SharedTensors:
    """q, k, v and out of all calls, each (launches * batch, heads, seq_len, head_dim), where memory begins."""

    def __init__(self, memory: torch.Tensor, witness_batch: WitnessBatch) -> None:
        batch, *rest = witness_batch.workload.shape
        elements = memory[: shared_bytes(witness_batch)].view(getattr(torch, witness_batch.workload.dtype))
        every = elements.view(TENSORS, witness_batch.launches * batch, *rest)
        self.inputs, self.out = every[:3], every[3]
        self._batch, self._bout = batch, witness_batch

    def calls(self) -> list[Operands]:
        """The operands of each call."""
        witness_batch, (q, k, v) = self._bout, self.inputs
        scale, causal = witness_batch.workload.head_dim**-0.5, witness_batch.workload.causal
        parts = [torch.split(each, self._batch) for each in (q, k, v, self.out)]
        calls = zip(*parts, strict=True)
        return [Operands(q, k, v, out, scale=scale, causal=causal) for q, k, v, out in calls]
