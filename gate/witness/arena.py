"""Memory that two processes see: the inputs and outputs of many calls in a row."""

from __future__ import annotations

from pathlib import Path

import torch

from gate.device import Device
from gate.implementations import Operands
from gate.witness.channel import Channel
from gate.witness.messages import Bout, Shared

TENSORS = 4  # q, k, v and out


def arena_bytes(bout: Bout) -> int:
    """What the calls of a bout need."""
    return bout.launches * bout.workload.bytes


class Lent:
    """Memory of all bouts that another process is to map.

    It is not freed before the last: who has mapped it may have kept it, and would read what is put there next.
    """

    def __init__(self, device: Device, size: int, folder: Path) -> None:
        self._device, self._size = device, size
        self.memory, self._handle = device.share(size, folder)

    def let_in(self, channel: Channel) -> None:
        """That process, and no other after it. Raises HungUpError."""
        channel.say(Shared(self._handle, self._size))
        channel.expect("here")
        self._device.unshare(self._handle)


class Arena:
    """q, k, v and out of all calls, each (launches * batch, heads, seq_len, head_dim), where memory begins."""

    def __init__(self, memory: torch.Tensor, bout: Bout) -> None:
        batch, *rest = bout.workload.shape
        elements = memory[: arena_bytes(bout)].view(getattr(torch, bout.workload.dtype))
        every = elements.view(TENSORS, bout.launches * batch, *rest)
        self.inputs, self.out = every[:3], every[3]
        self._batch, self._bout = batch, bout

    def calls(self) -> list[Operands]:
        """The operands of each call."""
        bout, (q, k, v) = self._bout, self.inputs
        scale, causal = bout.workload.head_dim**-0.5, bout.workload.causal
        parts = [torch.split(each, self._batch) for each in (q, k, v, self.out)]
        calls = zip(*parts, strict=True)
        return [Operands(q, k, v, out, scale=scale, causal=causal) for q, k, v, out in calls]
