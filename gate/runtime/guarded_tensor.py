"""Tensors with guard bytes around them and between their rows: a correct kernel never writes to these bytes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence

import torch

from gate.records import CONTIGUOUS, Layout
from gate.runtime.device import Device

GUARD_BYTES = 4096
ALIGNMENT = 128
"""Offsets are multiples of this number of bytes: vector loads stay aligned, and the cache sets still vary."""
PADDING_BYTES = 16
"""Bytes between padded rows: vector loads of rows stay aligned."""

Strides = tuple[int, ...]


def _contiguous(shape: Sequence[int]) -> Strides:
    return torch.empty(tuple(shape), device="meta").stride()


def _heads_inside(shape: Sequence[int]) -> Strides:
    """The memory order (batch, seq_len, heads, head_dim), as the output of a linear projection has it."""
    _, heads, seq_len, head_dim = shape
    return seq_len * heads * head_dim, head_dim, heads * head_dim, 1


def _padded(shape: Sequence[int], padding: int) -> Strides:
    """`padding` elements after every row."""
    _, heads, seq_len, head_dim = shape
    row = head_dim + padding
    return heads * seq_len * row, seq_len * row, row, 1


LAYOUTS: Mapping[Layout, Callable[[Sequence[int], int], Strides]] = {
    "contiguous": lambda shape, _: _contiguous(shape),
    "heads_inside": lambda shape, _: _heads_inside(shape),
    "padded_rows": lambda shape, itemsize: _padded(shape, PADDING_BYTES // itemsize),
    "odd_rows": lambda shape, _: _padded(shape, 1),  # rows are aligned to one element, as attention.h promises
}
"""Strides in elements, by shape and bytes per element."""


class GuardedTensor:
    """A tensor at a random offset in an allocation; a known random pattern fills all other bytes of it."""

    def __init__(
        self,
        device: Device,
        shape: Sequence[int],
        dtype: torch.dtype,
        rng: random.Random | None = None,
        layout: Layout = CONTIGUOUS,
    ) -> None:
        strides = LAYOUTS[layout](shape, dtype.itemsize)
        span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        shift = (rng or random.Random()).randrange(0, GUARD_BYTES, ALIGNMENT)
        start, stop = GUARD_BYTES + shift, GUARD_BYTES + shift + span * dtype.itemsize
        memory = device.allocate(stop + 2 * GUARD_BYTES - shift)
        self._row_gaps = _RowGaps(memory[start:stop], shape, strides, dtype.itemsize)
        self._guards = (memory[:start], memory[stop:])
        for guard in self._guards:
            guard.random_(0, 256)
        self._expected = tuple(guard.clone() for guard in self._guards)
        self.tensor = memory[start:stop].view(dtype).as_strided(shape, strides)
        self._identity = self._identify()

    def intact(self) -> bool:
        """Whether the guard bytes around the tensor and between its rows are unchanged."""
        around = all(torch.equal(*pair) for pair in zip(self._guards, self._expected, strict=True))
        return around and self._row_gaps.intact()

    def replaced(self) -> list[str]:
        """The tensor's properties that are no longer the original ones; only Python candidates can change them."""
        now = self._identify()
        return [name for name, original in self._identity.items() if now[name] != original]

    def _identify(self) -> dict[str, object]:
        tensor = self.tensor
        return {
            "type": type(tensor), "shape": tensor.shape, "dtype": tensor.dtype, "device": tensor.device,
            "strides": tensor.stride(), "storage": tensor.data_ptr(),
        }  # fmt: skip


class _RowGaps:
    """The elements between the rows of a tensor."""

    def __init__(self, span: torch.Tensor, shape: Sequence[int], strides: Strides, itemsize: int) -> None:
        self._gaps: torch.Tensor | None = None
        if span.numel() == math.prod(shape) * itemsize:
            return
        self._elements = span.random_(0, 256).view(-1, itemsize)
        self._gaps = torch.ones(len(self._elements), dtype=torch.bool, device=span.device)
        self._gaps.as_strided(shape, strides).zero_()
        self._expected = self._elements[self._gaps]

    def intact(self) -> bool:
        return self._gaps is None or torch.equal(self._elements[self._gaps], self._expected)
