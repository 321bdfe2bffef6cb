"""The calibration of decision rules, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from gate.calibration.calibrate import CalibrationRow, pooled
from gate.report.table import table


def calibration_table(rows: Sequence[CalibrationRow]) -> str:
    """One table over all keys, then one for each key; the columns from -10% on show power."""
    keys = list(dict.fromkeys(row.key for row in rows))
    parts = [("all", pooled(rows), rows), *((key, own, own) for key in keys if (own := _of(key, rows)))]
    return "\n\n".join(_calibration(title, shown, source) for title, shown, source in parts)


def _of(key: str, rows: Sequence[CalibrationRow]) -> list[CalibrationRow]:
    return [row for row in rows if row.key == key]


def _calibration(title: str, rows: Sequence[CalibrationRow], source: Sequence[CalibrationRow]) -> str:
    powers = list(dict.fromkeys(name for row in rows for name in row.power or {}))
    headers = ("rule", "false alarms", "worst", "swapped", "coverage", "width", "replicates", *powers)
    lines = [_calibration_row(row, source, powers) for row in rows]
    error = max((row.false_alarm * (1 - row.false_alarm) / row.draws) ** 0.5 for row in rows)
    note = (
        f"{rows[0].draws} draws; Monte Carlo error of a false-alarm rate: at most {error:.1%}. Columns from "
        f"{powers[0]} on: power, the rate at which a true difference is detected with the right sign."
    )
    return f"{title}\n{table(lines, *headers)}\n{note}"


def _calibration_row(row: CalibrationRow, source: Sequence[CalibrationRow], powers: Sequence[str]) -> tuple[str, ...]:
    worst = max(other.false_alarm for other in source if other.rule == row.rule)
    rates = (row.false_alarm, worst, row.false_alarm_swapped, row.coverage, row.width)
    found = ((row.power or {}).get(name) for name in powers)
    return (row.rule, *map(_rate, rates), f"{row.replicates:.1f}", *map(_rate, found))


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
