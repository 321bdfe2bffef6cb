"""Memory that two processes see: the inputs and outputs of many calls in a row."""

from __future__ import annotations

import torch

from gate.implementations import Operands
from gate.witness.messages import Bout

TENSORS = 4  # q, k, v and out


def arena_bytes(bout: Bout) -> int:
    """What the calls of a bout need."""
    return bout.launches * bout.workload.bytes


class Arena:
    """q, k, v and out of all calls, each (launches * batch, heads, seq_len, head_dim), in one piece of memory."""

    def __init__(self, memory: torch.Tensor, bout: Bout) -> None:
        batch, *rest = bout.workload.shape
        every = memory.view(getattr(torch, bout.workload.dtype)).view(TENSORS, bout.launches * batch, *rest)
        self.inputs, self.out = every[:3], every[3]
        self._batch, self._bout = batch, bout

    def calls(self) -> list[Operands]:
        """The operands of each call."""
        bout, (q, k, v) = self._bout, self.inputs
        scale, causal = bout.workload.head_dim**-0.5, bout.workload.causal
        parts = [torch.split(each, self._batch) for each in (q, k, v, self.out)]
        calls = zip(*parts, strict=True)
        return [Operands(q, k, v, out, scale=scale, causal=causal) for q, k, v, out in calls]
