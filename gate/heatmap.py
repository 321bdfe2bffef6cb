"""Where an answer is wrong, for the author who looks for the bug: found on the device, shown as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gate.records import MOST_BLOCKS, Fault, Workload

if TYPE_CHECKING:
    import torch

LEGEND = "error in limits: . up to 1 (right)   + up to 10   x up to 100   # more   N NaN, infinite or not written"
MARKS = ((1.0, "."), (10.0, "+"), (100.0, "x"), (float("inf"), "#"))

Grid = tuple[tuple[float | None, ...], ...]


def locate(excess: torch.Tensor, inputs: str = "") -> Fault | None:
    """The fault in an answer, or None. `excess` is (batch, heads, seq_len, head_dim): the error in limits.

    NaN counts as infinite; the worst head is the one that is off by most, and of those the first.
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


def show(fault: Fault, workload: Workload) -> str:
    """The fault in words, and its two maps."""
    rows, columns = (_span(*each) for each in (fault.rows, fault.columns))
    where = f"{fault.wrong_heads} of {workload.batch * workload.heads} heads are wrong"
    worst = f"the worst is head {fault.head} of batch {fault.batch}: rows {rows}, columns {columns}"
    by_row = f"batch {fault.batch}, head {fault.head}: {_block(workload.seq_len, 'row', workload.head_dim, 'column')}"
    maps = [by_row, *_lines(fault.by_row)]
    if workload.batch * workload.heads > 1:
        by_head = f"all heads: {_block(workload.batch, 'batch', workload.heads, 'head')}"
        maps = [by_head, *_lines(fault.by_head), "", *maps]
    return "\n".join([f"{where} {fault.inputs}".strip() + f"; {worst}", LEGEND, "", *maps])


def _coarse(excess: torch.Tensor) -> Grid:
    """The largest of each block; the blocks are alike, except for the last ones."""
    import torch

    sides = tuple(map(block_size, excess.shape))
    pooled = torch.nn.functional.max_pool2d(excess[None].double(), sides, ceil_mode=True)[0]
    return tuple(tuple(value if value < float("inf") else None for value in row) for row in pooled.tolist())


def block_size(length: int) -> int:
    """How many rows, or columns, one character of a map stands for."""
    return -(-length // MOST_BLOCKS)


def _lines(grid: Grid) -> Iterable[str]:
    return ("  " + "".join(map(_mark, row)) for row in grid)


def _mark(excess: float | None) -> str:
    return "N" if excess is None else next(mark for most, mark in MARKS if excess <= most)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}–{last}"


def _block(rows: int, row: str, columns: int, column: str) -> str:
    sizes: Sequence[tuple[int, str]] = ((block_size(rows), row), (block_size(columns), column))
    high, wide = (f"{size} {_plural(name) if size > 1 else name}" for size, name in sizes)
    return f"one character is {high} × {wide}"


def _plural(name: str) -> str:
    return f"{name}es" if name.endswith("ch") else f"{name}s"
