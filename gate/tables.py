"""What the commands print: records to tables."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from gate.availability import Listed, Listing
from gate.belief import own_work_gate
from gate.calibration import Row, pooled
from gate.compare import coefficient_of_variation, fastest, percentile_ms
from gate.findings import Finding
from gate.heatmap import show
from gate.records import Build, Evaluation, KernelResources, Measurement, Outcome, Status, Trial
from gate.regression import Change
from gate.sdpa import PREFIX
from gate.tunables import to_text

if TYPE_CHECKING:
    from gate.fuzzing import Checked, Failure, Report
    from gate.sanitizer import SanitizerReport

MOST_ROWS = 20


LEAST_COLUMN = 12
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
    widths = [max(LEAST_COLUMN, *map(len, column)) for column in zip(*lines, strict=True)]
    while sum(widths) + BETWEEN * (len(widths) - 1) > most and max(widths) > LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return widths


def _folded(cell: str, width: int) -> str:
    """By ourselves: tabulate takes a cell that looks like a number for one when it folds."""
    return cell if len(cell) <= width else "\n".join(textwrap.wrap(cell, width))


def times_table(measurement: Measurement) -> str:
    """A measurement for people at a terminal: what went wrong, and one row an arm."""
    stages = [(None, measurement.build), *((each.workload, each.correctness) for each in measurement.evaluations)]
    lines = [
        f"{where or measurement.impl}: {stage.status}: {stage.message}"
        for where, stage in stages
        if stage is not None and stage.status is not Status.OK
    ]
    lines += _ended_early(measurement)
    lines += [line for each in measurement.evaluations for line in _refusals(each)]
    rows = [row for evaluation in measurement.evaluations for row in _arms(evaluation)]
    if rows:
        times = ("median ms", "P95 ms", "P99 ms", "CV")
        headers = ("workload", "arm", "implementation", *times, "peak MB", "replicates")
        lines.append(table(rows, *headers))
    lines += [f"fastest at {each.workload}: {_fastest(each.sdpa)}" for each in measurement.evaluations if each.sdpa]
    lines += [time_spent(measurement)] if measurement.seconds else []
    return "\n".join(lines)


def _ended_early(measurement: Measurement) -> Iterator[str]:
    """Why a candidate that is right was not timed: its verdict was known before."""
    if measurement.build and measurement.build.status is Status.OK and not measurement.evaluations:
        yield f"{measurement.impl}: not timed: see its resources against the policy's with `kernel-gate build`"
    for gate in (own_work_gate(each, measurement.impl) for each in measurement.evaluations):
        if gate is not None and gate.outcome is not Outcome.PASS:
            yield f"{gate.workload}: {gate.name}: {gate.evidence}"


def time_spent(measurement: Measurement) -> str:
    """Where the time went, stage by stage."""
    stages = " · ".join(f"{stage} {seconds:.1f} s" for stage, seconds in measurement.seconds.items())
    return f"took {sum(measurement.seconds.values()):.1f} s: {stages}"


def _refusals(evaluation: Evaluation) -> Iterator[str]:
    """Why nothing was timed, where it is SDPA that refuses."""
    if evaluation.trial is None and evaluation.sdpa is None:
        for each in evaluation.traces:
            if each.refusal and each.implementation.startswith(PREFIX):
                said = f"{each.implementation} refuses: {each.refusal}"
                yield f"{evaluation.workload}: {said}; choose another shape or dtype"


def _arms(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Of the trial with the candidate; that which chose its baseline is summed up as the fastest."""
    trial = evaluation.trial or evaluation.sdpa
    if trial is not None:
        if trial.status is not Status.OK:
            yield str(evaluation.workload), "–", f"{trial.status}: {trial.message}", *("–",) * 6
        for arm in trial.arms if trial.replicates else ():
            spread = f"{coefficient_of_variation(trial, arm.name):.1%}"
            high = (f"{percentile_ms(trial, arm.name, percent):.4g}" for percent in (95, 99))
            times = f"{trial.median_ms[arm.name]:.4g}", *high
            peak = f"{max(each.peak_bytes for each in trial.replicates) / 2**20:.0f}"  # of all arms together
            counts = spread, peak, str(len(trial.replicates))
            yield str(evaluation.workload), arm.name, arm.implementation, *times, *counts


def _fastest(sdpa: Trial) -> str:
    return sdpa.implementation(fastest(sdpa)) if sdpa.replicates else "unknown"


def correctness_table(report: Report) -> str:
    """One row a case that failed, the reasons why cases are not supported, the count of all, and one failure."""
    if report.build.status is not Status.OK:
        return build_table(report.build)
    failed = [each for each in report.results if each.failed]
    rows = [(str(each.case), each.correctness.status.value, each.correctness.message) for each in failed[:MOST_ROWS]]
    parts = [table(rows, "case", "status", "seen")] if rows else []
    if len(failed) > MOST_ROWS:
        parts.append(f"and {len(failed) - MOST_ROWS} more that failed")
    refused = [each.correctness.message for each in report.results if each.correctness.status is Status.UNSUPPORTED]
    parts += [f"not supported: {count} × {reason}" for reason, count in Counter(refused).items()]
    total = len(report.results)
    passed = total - len(failed) - len(refused)
    parts.append(f"{passed} passed, {len(failed)} failed, {len(refused)} not supported, of {total}")
    if report.failure is not None:
        parts += [where_text(each) for each in _telling(failed, report.failure)]
        parts.append(failure_text(report.failure))
    return "\n\n".join(parts)


def _telling(failed: Sequence[Checked], failure: Failure) -> list[Checked]:
    """The largest of those that say where they are wrong, for its map shows most; unless that is the smallest too."""
    mapped = [each for each in failed if each.correctness.fault and each.case != failure.shrunk.case]
    return [max(mapped, key=lambda each: each.case.workload.bytes)] if mapped else []


def where_text(checked: Checked) -> str:
    """Where a case is wrong."""
    fault = checked.correctness.fault
    return f"{checked.case}: {show(fault, checked.case.workload)}" if fault else ""


def failure_text(failure: Failure) -> str:
    """The smallest case that fails, and where it is wrong."""
    shrunk = failure.shrunk
    how = f"smallest failure found, by {failure.probes} probes"
    if not failure.again:
        how = "did not fail again in a process of its own, so that chance decides, or what ran before it there"
    lines = [f"{shrunk.case}, seed {shrunk.seed}: {how}"]
    lines.append(f"{shrunk.correctness.status}: {shrunk.correctness.message}")
    return "\n".join(filter(None, (*lines, where_text(shrunk))))


def sanitizer_table(report: SanitizerReport) -> str:
    """One row a tool, and what it found."""
    if report.build.status is not Status.OK:
        return build_table(report.build)
    rows = [
        (each.tool, each.status.value, "–" if each.errors is None else str(each.errors), each.message)
        for each in report.tools
    ]
    found = [f"{each.tool}: {finding}" for each in report.tools for finding in each.findings]
    cases = f"on {len(report.cases)} cases: {'; '.join(map(str, report.cases))}"
    return "\n\n".join(filter(None, (table(rows, "tool", "status", "errors", "seen"), "\n".join(found), cases)))


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
    """How a build went; where it failed, the compiler's own words; else what its kernels take."""
    rows = [
        ("candidate", build.impl),
        ("status", build.status.value),
        ("cache", "hit" if build.cached else "miss"),
        ("seconds", f"{build.seconds:.2f}"),
        ("library", build.library or "–"),
        *((("configuration", to_text(build.config)),) if build.config else ()),
        *((("architectures", ", ".join(build.architectures)),) if build.architectures else ()),
        *((("message", build.message),) if build.message else ()),
    ]
    below = resources_table(build.resources) if build.status is Status.OK else build.log.strip()
    return "\n\n".join(filter(None, (table(rows), below)))


def resources_table(resources: Sequence[KernelResources]) -> str:
    """One row a kernel and architecture; nothing where none is known."""
    headers = ("kernel", "arch", "registers", "shared", "spills", "stack", "threads", "occupancy", "limited by")
    return table(map(_resources, resources), *headers) if resources else ""


def _resources(each: KernelResources) -> tuple[str, ...]:
    """Shared memory is static + dynamic, spills are stores + loads; all in bytes."""
    dynamic = {None: " + ?", 0: ""}.get(each.dynamic_shared_bytes, f" + {each.dynamic_shared_bytes}")
    filled, most = each.filled, "" if each.known else "at most "
    occupied = (f"{most}{filled.fraction:.0%}", filled.limited_by) if filled else ("–", "–")
    return (
        each.kernel, each.architecture, "–" if each.registers is None else str(each.registers),
        f"{each.shared_bytes}{dynamic}", f"{each.spill_store_bytes} + {each.spill_load_bytes}", str(each.stack_bytes),
        str(each.threads or "–"), *occupied,
    )  # fmt: skip


def candidates_table(listing: Listing) -> str:
    """One row a candidate."""
    rows = [
        *map(_listed, listing.candidates),
        *(("?", "–", "–", "–", f"no: {each}", "–") for each in listing.unreadable),
    ]
    return table(rows, "candidate", "language", "runs on", "supports", "here", "what it is")


def _listed(each: Listed) -> tuple[str, ...]:
    supports = each.supports
    sizes = f"D {', '.join(map(str, supports.head_dims))}" if supports.head_dims else "any D"
    causal = "; causal" if True in supports.causal else ""
    here = f"no: {each.missing}" if each.missing else "yes"
    places = ", ".join(each.architectures or each.devices)
    return each.name, each.language, places, f"{', '.join(supports.dtypes)}; {sizes}{causal}", here, each.summary


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
