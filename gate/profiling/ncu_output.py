"""Reads Nsight Compute's output: its raw page as CSV, or a report through its Python module `ncu_report`.

Both give launches with their metrics in base units (ns, bytes, percent, Hz, counts). Values that are not finite
numbers are left out.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_COLUMN = '"ID"'
GRID, BLOCK, KERNEL = "Grid Size", "Block Size", "Kernel Name"
MULTIPLES: Mapping[str, float] = {
    "s": 1e9, "second": 1e9, "ms": 1e6, "msecond": 1e6, "us": 1e3, "usecond": 1e3, "ns": 1.0, "nsecond": 1.0,
    "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12,
    "Khz": 1e3, "Mhz": 1e6, "Ghz": 1e9, "cycle/nsecond": 1e9, "cycle/usecond": 1e6,
}  # fmt: skip
"""Factors to base units. Nsight Compute scales values to these units by default."""


@dataclass(frozen=True, slots=True)
class CountedLaunch:
    """One launch of a kernel, with metrics by Nsight Compute's names."""

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    metrics: Mapping[str, float]


def read_csv(text: str) -> list[CountedLaunch]:
    """The launches in the output of `ncu --csv --page raw`, in order; empty if it contains no table.

    Lines of the profiler or of the program before and after the table are skipped.
    """
    at = text.find(FIRST_COLUMN)
    if at < 0:
        return []
    rows = list(csv.reader(text[at:].splitlines()))
    header, units = rows[0], rows[1] if len(rows) > 1 else []
    whole = [row for row in rows[2:] if len(row) == len(header) and row[0].strip().isdecimal()]
    return [_launch(header, units, row) for row in whole]


def _launch(header: Sequence[str], units: Sequence[str], row: Sequence[str]) -> CountedLaunch:
    cells = dict(zip(header, row, strict=True))
    given = dict(zip(header, units, strict=False))
    read = {
        name: _number(text, given.get(name, "")) for name, text in cells.items() if "__" in name or "memory_" in name
    }
    metrics = {name: value for name, value in read.items() if value is not None}
    return CountedLaunch(cells.get(KERNEL, ""), _sizes(cells.get(GRID, "")), _sizes(cells.get(BLOCK, "")), metrics)


def _number(text: str, unit: str) -> float | None:
    """The number in a cell (`1,641,216`, `7.65`) in base units; None for nan, inf, text and empty cells."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value * MULTIPLES.get(unit.removesuffix("/s"), 1.0) if math.isfinite(value) else None


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text))


def has_module() -> bool:
    """Whether `ncu_report` can be imported: PYTHONPATH must contain extras/python of an Nsight Compute."""
    return importlib.util.find_spec("ncu_report") is not None


def read_ncu_report(path: Path) -> list[CountedLaunch]:
    """The launches in a report of `ncu --export`. Raises whatever NVIDIA's module raises."""
    module: Any = importlib.import_module("ncu_report")
    return list(_launches(module.load_report(str(path))))


def _launches(report: Any) -> Iterator[CountedLaunch]:
    for one in range(report.num_ranges()):
        actions = report.range_by_idx(one)
        for number in range(actions.num_actions()):
            yield _action(actions.action_by_idx(number))


def _action(action: Any) -> CountedLaunch:
    read = {name: _metric(action.metric_by_name(name)) for name in action.metric_names()}
    metrics = {name: value for name, value in read.items() if value is not None}
    grid, block = (
        tuple(int(metrics.get(f"launch__{of}_dim_{axis}", 1)) for axis in "xyz") for of in ("grid", "block")
    )
    return CountedLaunch(action.name(action.NameBase_DEMANGLED), grid, block, metrics)


def _metric(metric: Any) -> float | None:
    value = None if metric is None else metric.value()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value * MULTIPLES.get(metric.unit().removesuffix("/s"), 1.0)
