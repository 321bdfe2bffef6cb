"""Memory that two processes share: the inputs and outputs of many calls in a row."""

from __future__ import annotations

from pathlib import Path

import torch

from gate.runtime.device import Device
from gate.runtime.implementations import Operands
from gate.witness.protocol import Shared, WitnessBatch
from gate.witness.socket_channel import Channel

TENSORS = 4  # q, k, v and out


def shared_bytes(witness_batch: WitnessBatch) -> int:
    """The number of bytes that the calls of a batch need."""
    return witness_batch.launches * witness_batch.workload.bytes


class SharedMemory:
    """Memory of all batches that another process maps.

    It is not freed before the last batch: the other process may keep its mapping, and would read later data in it.
    """

    def __init__(self, device: Device, size: int, folder: Path) -> None:
        self._device, self._size = device, size
        self.memory, self._handle = device.share(size, folder)

    def admit(self, channel: Channel) -> None:
        """Lets the process at the other end map the memory, and no further one. Raises DisconnectedError."""
        channel.send(Shared(self._handle, self._size))
        channel.expect("here")
        self._device.unshare(self._handle)


class SharedTensors:
    """q, k, v and out of all calls at the start of the memory, each (launches * batch, heads, seq_len, head_dim)."""

    def __init__(self, memory: torch.Tensor, witness_batch: WitnessBatch) -> None:
        batch, *rest = witness_batch.workload.shape
        elements = memory[: shared_bytes(witness_batch)].view(getattr(torch, witness_batch.workload.dtype))
        every = elements.view(TENSORS, witness_batch.launches * batch, *rest)
        self.inputs, self.out = every[:3], every[3]
        self._batch_size, self._witness_batch = batch, witness_batch

    def calls(self) -> list[Operands]:
        """The operands of every call."""
        witness_batch, (q, k, v) = self._witness_batch, self.inputs
        scale, causal = witness_batch.workload.head_dim**-0.5, witness_batch.workload.causal
        parts = [torch.split(tensor, self._batch_size) for tensor in (q, k, v, self.out)]
        calls = zip(*parts, strict=True)
        return [Operands(q, k, v, out, scale=scale, causal=causal) for q, k, v, out in calls]
