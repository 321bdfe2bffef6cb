"""Formats a plain table, wrapped to the width of the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

MIN_COLUMN = 12
"""Smallest width of a wrapped column, in characters."""
GAP = 2


def table(rows: Iterable[Sequence[str]], *headers: str) -> str:
    """A plain table. Numbers keep their format; on a terminal, long cells are wrapped to its width."""
    lines = [tuple(row) for row in rows]
    if lines and sys.stdout.isatty():
        widths = _widths([headers, *lines] if headers else lines, shutil.get_terminal_size().columns)
        lines = [tuple(map(_wrapped, row, widths)) for row in lines]
    return tabulate(lines, headers=headers, tablefmt="simple", disable_numparse=True)


def _widths(lines: Sequence[Sequence[str]], limit: int) -> list[int]:
    """The columns' widths; the widest is reduced until a line has at most `limit` characters."""
    widths = [max(MIN_COLUMN, *map(len, column)) for column in zip(*lines, strict=True)]
    while sum(widths) + GAP * (len(widths) - 1) > limit and max(widths) > MIN_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return widths


def _wrapped(cell: str, width: int) -> str:
    """Own wrapping, because tabulate reformats cells that look like numbers when it wraps."""
    return cell if len(cell) <= width else "\n".join(textwrap.wrap(cell, width))
