"""Locates the wrong elements of an output, on the device, for the author who looks for the bug."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gate.records import Fault
from gate.records.correctness import block_size

if TYPE_CHECKING:
    import torch


Grid = tuple[tuple[float | None, ...], ...]


def locate_fault(excess: torch.Tensor, inputs: str = "") -> Fault | None:
    """The fault in an output, or None. `excess` is (batch, heads, seq_len, head_dim): error divided by its limit.

    NaN counts as infinite. The worst head is the first one with the largest excess.
    """
    excess = excess.nan_to_num(nan=float("inf"), posinf=float("inf"))
    by_head = excess.amax((-1, -2))
    wrong = int((by_head > 1).sum())
    if wrong == 0:
        return None
    batch, head = divmod(int(by_head.argmax()), by_head.shape[1])
    worst = excess[batch, head]
    rows, columns = ((worst > 1).any(side).nonzero()[:, 0] for side in (1, 0))
    return Fault(
        batch=batch,
        head=head,
        rows=(int(rows[0]), int(rows[-1])),
        columns=(int(columns[0]), int(columns[-1])),
        wrong_heads=wrong,
        by_head=_coarse(by_head),
        by_row=_coarse(worst),
        inputs=inputs,
    )


def _coarse(excess: torch.Tensor) -> Grid:
    """Max-pools to a small grid; all blocks have the same size, except for the last ones."""
    import torch

    sides = tuple(map(block_size, excess.shape))
    pooled = torch.nn.functional.max_pool2d(excess[None].double(), sides, ceil_mode=True)[0]
    return tuple(tuple(value if value < float("inf") else None for value in row) for row in pooled.tolist())
