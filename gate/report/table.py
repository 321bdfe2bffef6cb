"""A plain table, folded to the width of a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

MIN_COLUMN = 12
"""Characters: narrower than this, no column is folded."""
BETWEEN = 2


def table(rows: Iterable[Sequence[str]], *headers: str) -> str:
    """A plain table; numbers stay as they were written, and long cells are folded to the width of a terminal."""
    lines = [tuple(row) for row in rows]
    if lines and sys.stdout.isatty():
        widths = _widths([headers, *lines] if headers else lines, shutil.get_terminal_size().columns)
        lines = [tuple(map(_folded, row, widths)) for row in lines]
    return tabulate(lines, headers=headers, tablefmt="simple", disable_numparse=True)


def _widths(lines: Sequence[Sequence[str]], most: int) -> list[int]:
    """Of each column, the widest cut down until a line has `most` characters."""
    widths = [max(MIN_COLUMN, *map(len, column)) for column in zip(*lines, strict=True)]
    while sum(widths) + BETWEEN * (len(widths) - 1) > most and max(widths) > MIN_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return widths


def _folded(cell: str, width: int) -> str:
    """By ourselves: tabulate takes a cell that looks like a number for one when it folds."""
    return cell if len(cell) <= width else "\n".join(textwrap.wrap(cell, width))
