"""What the commands print: records to tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from gate.calibration import Row, pooled
from gate.compare import coefficient_of_variation, fastest, percentile_ms
from gate.doctor import Finding
from gate.errors import BadInputError
from gate.records import Build, Evaluation, Measurement, Status, Trial
from gate.registry import Candidate
from gate.regression import Change


def table(rows: Iterable[Sequence[str]], *headers: str) -> str:
    """A plain table; numbers stay as they were written."""
    return tabulate(list(rows), headers=headers, tablefmt="simple", disable_numparse=True)


def times_table(measurement: Measurement) -> str:
    """A measurement for people at a terminal: what went wrong, and one row an arm."""
    stages = [(None, measurement.build), *((each.workload, each.correctness) for each in measurement.evaluations)]
    lines = [
        f"{where or measurement.impl}: {stage.status}: {stage.message}"
        for where, stage in stages
        if stage is not None and stage.status is not Status.OK
    ]
    rows = [row for evaluation in measurement.evaluations for row in _arms(evaluation)]
    if rows:
        headers = ("workload", "arm", "implementation", "median ms", "P95 ms", "P99 ms", "CV", "replicates")
        lines.append(table(rows, *headers))
    lines += [f"fastest at {each.workload}: {_fastest(each.sdpa)}" for each in measurement.evaluations if each.sdpa]
    return "\n".join(lines)


def _arms(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    for trial in filter(None, (evaluation.sdpa, evaluation.trial)):
        if trial.status is not Status.OK:
            yield str(evaluation.workload), "–", f"{trial.status}: {trial.message}", *("–",) * 5
        for arm in trial.arms if trial.replicates else ():
            spread = f"{coefficient_of_variation(trial, arm.name):.1%}"
            high = (f"{percentile_ms(trial, arm.name, percent):.4g}" for percent in (95, 99))
            times = f"{trial.median_ms[arm.name]:.4g}", *high
            yield str(evaluation.workload), arm.name, arm.implementation, *times, spread, str(len(trial.replicates))


def _fastest(sdpa: Trial) -> str:
    return sdpa.implementation(fastest(sdpa)) if sdpa.replicates else "unknown"


def correctness_table(measurement: Measurement) -> str:
    """One row a workload that did not pass, and the count of all."""
    built = measurement.build
    if built is not None and built.status is not Status.OK:
        return build_table(built)
    seen = [(each.workload, each.correctness) for each in measurement.evaluations if each.correctness]
    rows = [
        (str(workload), each.status.value, each.message) for workload, each in seen if each.status is not Status.OK
    ]
    passed, unsupported = (
        sum(each.status is status for _, each in seen) for status in (Status.OK, Status.UNSUPPORTED)
    )
    count = f"{passed} passed, {len(seen) - passed - unsupported} failed, {unsupported} not supported, of {len(seen)}"
    return f"{table(rows, 'workload', 'status', 'seen')}\n\n{count}" if rows else count


def changes_table(changes: Iterable[Change]) -> str:
    """One row a recorded workload."""
    rows = [(str(each.workload), each.answer.value, each.subject, each.evidence) for each in changes]
    return table(rows, "workload", "answer", "of", "new / recorded")


def calibration_table(rows: Sequence[Row]) -> str:
    """All keys pooled, then each; the columns from -10% on are power."""
    keys = list(dict.fromkeys(row.key for row in rows))
    parts = [("all", pooled(rows), rows), *((key, each, each) for key in keys if (each := _of(key, rows)))]
    return "\n\n".join(_calibration(title, shown, behind) for title, shown, behind in parts)


def _of(key: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.key == key]


def _calibration(title: str, rows: Sequence[Row], behind: Sequence[Row]) -> str:
    powers = list(dict.fromkeys(name for row in rows for name in row.power or {}))
    headers = ("rule", "false alarms", "worst", "swapped", "coverage", "width", "replicates", *powers)
    lines = [_calibration_row(row, behind, powers) for row in rows]
    error = max((row.false_alarm * (1 - row.false_alarm) / row.draws) ** 0.5 for row in rows)
    note = (
        f"{rows[0].draws} draws; Monte Carlo error of a false-alarm rate: at most {error:.1%}. Columns from "
        f"{powers[0]} on: how often a true difference is found, in its direction (power)."
    )
    return f"{title}\n{table(lines, *headers)}\n{note}"


def _calibration_row(row: Row, behind: Sequence[Row], powers: Sequence[str]) -> tuple[str, ...]:
    worst = max(each.false_alarm for each in behind if each.rule == row.rule)
    rates = (row.false_alarm, worst, row.false_alarm_swapped, row.coverage, row.width)
    found = ((row.power or {}).get(name) for name in powers)
    return (row.rule, *map(_rate, rates), f"{row.replicates:.1f}", *map(_rate, found))


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def build_table(build: Build) -> str:
    """How a build went; where it failed, the compiler's own words."""
    rows = [
        ("candidate", build.impl),
        ("status", build.status.value),
        ("cache", "hit" if build.cached else "miss"),
        ("seconds", f"{build.seconds:.2f}"),
        ("library", build.library or "–"),
        *((("message", build.message),) if build.message else ()),
    ]
    return "\n\n".join(filter(None, (table(rows), build.log.strip())))


def candidates_table(candidates: Iterable[Candidate | BadInputError], device: str) -> str:
    """One row a candidate."""
    rows = [_broken(each) if isinstance(each, BadInputError) else _candidate(each, device) for each in candidates]
    return table(rows, "candidate", "language", "devices", "supports", "here", "what it is")


def _candidate(candidate: Candidate, device: str) -> tuple[str, ...]:
    supports = candidate.supports
    sizes = f"D {', '.join(map(str, supports.head_dims))}" if supports.head_dims else "any D"
    causal = "; causal" if True in supports.causal else ""
    here = "yes" if device in candidate.devices else f"no: needs {' or '.join(candidate.devices)}"
    described = f"{', '.join(supports.dtypes)}; {sizes}{causal}"
    return candidate.name, candidate.language, ", ".join(candidate.devices), described, here, candidate.summary


def _broken(error: BadInputError) -> tuple[str, ...]:
    return "?", "–", "–", "–", f"no: {error}", "–"


def doctor_table(findings: Iterable[Finding]) -> str:
    """One row a finding, with the remedy where something is missing."""
    rows = [
        (
            "✅" if each.present else "❌" if each.needed else "–",
            each.item,
            each.seen,
            "" if each.present else each.remedy,
        )
        for each in findings
    ]
    return table(rows, "", "item", "seen", "remedy")
