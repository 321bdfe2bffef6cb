"""Fault maps: which elements of an output are wrong, drawn as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gate.check.fault_map import Grid
from gate.records import Fault, Workload
from gate.records.correctness import block_size

LEGEND = (
    "error / limit: . up to 1 (correct)   + up to 10   x up to 100   # above 100   N NaN, infinite or not written"
)
MARKS = ((1.0, "."), (10.0, "+"), (100.0, "x"), (float("inf"), "#"))


def fault_text(fault: Fault, workload: Workload) -> str:
    """The fault as a sentence, and its maps by head and by row."""
    rows, columns = (_span(*span) for span in (fault.rows, fault.columns))
    where = f"{fault.wrong_heads} of {workload.batch * workload.heads} heads are wrong"
    worst = f"the worst is head {fault.head} of batch {fault.batch}: rows {rows}, columns {columns}"
    by_row = f"batch {fault.batch}, head {fault.head}: {_block(workload.seq_len, 'row', workload.head_dim, 'column')}"
    maps = [by_row, *_lines(fault.by_row)]
    if workload.batch * workload.heads > 1:
        by_head = f"all heads: {_block(workload.batch, 'batch', workload.heads, 'head')}"
        maps = [by_head, *_lines(fault.by_head), "", *maps]
    return "\n".join([f"{where} {fault.inputs}".strip() + f"; {worst}", LEGEND, "", *maps])


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
