"""Tensors with guards: memory around them that a correct kernel never writes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch

from gate.device import Device

GUARD_BYTES = 4096
ALIGNMENT = 128
"""Offsets are multiples of this, in bytes: every vector load stays aligned, and cache sets still differ."""


class GuardedTensor:
    """A contiguous tensor at a random place within an allocation whose other bytes are a known random pattern."""

    def __init__(
        self, device: Device, shape: Sequence[int], dtype: torch.dtype, rng: random.Random | None = None
    ) -> None:
        size = math.prod(shape) * dtype.itemsize
        shift = (rng or random.Random()).randrange(0, GUARD_BYTES, ALIGNMENT)
        start, stop = GUARD_BYTES + shift, GUARD_BYTES + shift + size
        memory = device.allocate(stop + 2 * GUARD_BYTES - shift)
        self._guards = (memory[:start], memory[stop:])
        for guard in self._guards:
            guard.random_(0, 256)
        self._expected = tuple(guard.clone() for guard in self._guards)
        self.tensor = memory[start:stop].view(dtype).view(*shape)
        self._identity = self._identify()

    def intact(self) -> bool:
        """Whether the bytes around the tensor are as they were."""
        return all(torch.equal(*pair) for pair in zip(self._guards, self._expected, strict=True))

    def replaced(self) -> bool:
        """Whether the tensor was given another shape, type or storage: only Python candidates can."""
        return self._identify() != self._identity

    def _identify(self) -> tuple[object, ...]:
        tensor = self.tensor
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device, type(tensor)
