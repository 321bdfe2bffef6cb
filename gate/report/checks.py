"""Tables of correctness: cases, the smallest failure, and the sanitizers' findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gate.records import Status
from gate.report.build import build_table
from gate.report.fault_map import fault_text
from gate.report.table import table

if TYPE_CHECKING:
    from gate.check.fuzz import CheckedCase, FuzzFailure, FuzzReport
    from gate.check.sanitizer import SanitizerReport


MAX_ROWS = 20


def correctness_table(report: FuzzReport) -> str:
    """One row for each failed case, the reasons of unsupported cases, the counts, and the smallest failure."""
    if report.build.status is not Status.OK:
        return build_table(report.build)
    failed = [result for result in report.results if result.failed]
    rows = [
        (str(result.case), result.correctness.status.value, result.correctness.message)
        for result in failed[:MAX_ROWS]
    ]
    parts = [table(rows, "case", "status", "message")] if rows else []
    if len(failed) > MAX_ROWS:
        parts.append(f"and {len(failed) - MAX_ROWS} more that failed")
    refused = [
        result.correctness.message for result in report.results if result.correctness.status is Status.UNSUPPORTED
    ]
    parts += [f"not supported: {count} × {reason}" for reason, count in Counter(refused).items()]
    total = len(report.results)
    passed = total - len(failed) - len(refused)
    parts.append(f"{passed} passed, {len(failed)} failed, {len(refused)} not supported, of {total}")
    if report.failure is not None:
        parts += [where_text(result) for result in _largest_mapped(failed, report.failure)]
        parts.append(failure_text(report.failure))
    return "\n\n".join(parts)


def _largest_mapped(failed: Sequence[CheckedCase], failure: FuzzFailure) -> list[CheckedCase]:
    """The largest failed case with a fault map, which shows most; empty if that is the smallest failure itself."""
    mapped = [result for result in failed if result.correctness.fault and result.case != failure.shrunk.case]
    return [max(mapped, key=lambda each: each.case.workload.bytes)] if mapped else []


def where_text(checked: CheckedCase) -> str:
    """The fault map of a case; empty if it has none."""
    fault = checked.correctness.fault
    return f"{checked.case}: {fault_text(fault, checked.case.workload)}" if fault else ""


def failure_text(failure: FuzzFailure) -> str:
    """The smallest case that fails, and its fault map."""
    shrunk = failure.shrunk
    how = f"smallest failure found in {failure.probes} attempts"
    if not failure.reproduced:
        how = "did not fail again in a fresh process: the failure is random, or depends on earlier calls"
    lines = [f"{shrunk.case}, seed {shrunk.seed}: {how}"]
    lines.append(f"{shrunk.correctness.status}: {shrunk.correctness.message}")
    return "\n".join(filter(None, (*lines, where_text(shrunk))))


def sanitizer_table(report: SanitizerReport) -> str:
    """One row for each tool, and its findings."""
    if report.build.status is not Status.OK:
        return build_table(report.build)
    rows = [
        (result.tool, result.status.value, "–" if result.errors is None else str(result.errors), result.message)
        for result in report.tools
    ]
    found = [f"{result.tool}: {finding}" for result in report.tools for finding in result.findings]
    cases = f"on {len(report.cases)} cases: {'; '.join(map(str, report.cases))}"
    return "\n\n".join(filter(None, (table(rows, "tool", "status", "errors", "message"), "\n".join(found), cases)))
