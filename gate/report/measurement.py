"""Tables of times: one row for each arm; and of changes against a recorded measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gate.analysis.comparison import coefficient_of_variation, fastest, percentile_ms
from gate.records import Evaluation, Measurement, Outcome, Status, Trial
from gate.records.sdpa import PREFIX
from gate.report.table import table
from gate.verdict.gate_trust import provenance_gate
from gate.verdict.regression import Change


def times_table(measurement: Measurement) -> str:
    """A measurement for the terminal: failures, then one row for each arm, then the time spent."""
    stages = [
        (None, measurement.build),
        *((evaluation.workload, evaluation.correctness) for evaluation in measurement.evaluations),
    ]
    lines = [
        f"{where or measurement.impl}: {stage.status}: {stage.message}"
        for where, stage in stages
        if stage is not None and stage.status is not Status.OK
    ]
    lines += _ended_early(measurement)
    lines += [line for evaluation in measurement.evaluations for line in _refusals(evaluation)]
    rows = [row for evaluation in measurement.evaluations for row in _arms(evaluation)]
    if rows:
        times = ("median ms", "P95 ms", "P99 ms", "CV")
        headers = ("workload", "arm", "implementation", *times, "peak MB", "replicates")
        lines.append(table(rows, *headers))
    lines += [
        f"fastest at {evaluation.workload}: {_fastest(evaluation.sdpa)}"
        for evaluation in measurement.evaluations
        if evaluation.sdpa
    ]
    lines += [time_spent(measurement)] if measurement.seconds else []
    return "\n".join(lines)


def _ended_early(measurement: Measurement) -> Iterator[str]:
    """Why a correct candidate was not timed: its verdict was known before."""
    if measurement.build and measurement.build.status is Status.OK and not measurement.evaluations:
        yield f"{measurement.impl}: not timed: resource limits not met or unknown; see `kernel-gate build`"
    for gate in (provenance_gate(evaluation, measurement.impl) for evaluation in measurement.evaluations):
        if gate is not None and gate.outcome is not Outcome.PASS:
            yield f"{gate.workload}: {gate.name}: {gate.evidence}"


def time_spent(measurement: Measurement) -> str:
    """The seconds that each stage took."""
    stages = " · ".join(f"{stage} {seconds:.1f} s" for stage, seconds in measurement.seconds.items())
    return f"took {sum(measurement.seconds.values()):.1f} s: {stages}"


def _refusals(evaluation: Evaluation) -> Iterator[str]:
    """Why nothing was timed, if SDPA refused the workload."""
    if evaluation.trial is None and evaluation.sdpa is None:
        for trace in evaluation.traces:
            if trace.refusal and trace.implementation.startswith(PREFIX):
                refusal = f"{trace.implementation} does not support this workload: {trace.refusal}"
                yield f"{evaluation.workload}: {refusal}; choose another shape or dtype"


def _arms(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """One row for each arm of the candidate's trial, or of SDPA's trial if there is no candidate."""
    trial = evaluation.trial or evaluation.sdpa
    if trial is not None:
        if trial.status is not Status.OK:
            yield str(evaluation.workload), "–", f"{trial.status}: {trial.message}", *("–",) * 6
        for arm in trial.arms if trial.replicates else ():
            spread = f"{coefficient_of_variation(trial, arm.name):.1%}"
            high = (f"{percentile_ms(trial, arm.name, percent):.4g}" for percent in (95, 99))
            times = f"{trial.median_ms[arm.name]:.4g}", *high
            peak = (
                f"{max(replicate.peak_bytes for replicate in trial.replicates) / 2**20:.0f}"  # of all arms together
            )
            counts = spread, peak, str(len(trial.replicates))
            yield str(evaluation.workload), arm.name, arm.implementation, *times, *counts


def _fastest(sdpa: Trial) -> str:
    return sdpa.implementation(fastest(sdpa)) if sdpa.replicates else "unknown"


def changes_table(changes: Iterable[Change]) -> str:
    """One row for each recorded workload."""
    rows = [(str(change.workload), change.answer.value, change.subject, change.evidence) for change in changes]
    return table(rows, "workload", "answer", "subject", "new / recorded")
