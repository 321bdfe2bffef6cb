"""Admits evidence only for the requested candidate and device, and requires all workloads of the policy.

The evidence file comes from a runner that executed the candidate: it may be forged, and so it decides neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gate.analysis.comparison import compare
from gate.errors import InconsistentFileError
from gate.records import Measurement, Run
from gate.records.sdpa import backends_of
from gate.settings.model import Settings
from gate.verdict.gate_baseline import baseline_doubt
from gate.verdict.judge import judge


def require_subject(measurement: Measurement, path: Path, impl: str | None, device: str | None) -> Measurement:
    """Returns the measurement unchanged. Raises InconsistentFileError if it is of another candidate or device.

    The device decides which workloads are required; therefore the file must not choose it.
    """
    subjects = (("candidate", impl, measurement.impl), ("device", device, measurement.environment.device))
    for kind, required, measured in subjects:
        if required is not None and measured != required:
            raise InconsistentFileError(
                f"{path}: wrong {kind}: expected {required}, but the file contains {measured}; measure again"
            )
    return measurement


def with_required_workloads(measurement: Measurement, settings: Settings) -> Measurement:
    """The same evidence, with the workloads and the baseline that the policy requires.

    Raises BadInputError if the device has no such baseline.
    """
    device, baseline = measurement.environment.device, settings.measure.baseline
    backends_of(device, baseline)
    workloads = dict.fromkeys((*settings.required(device), *measurement.workloads))
    return replace(measurement, workloads=tuple(workloads), baseline=baseline)


def shortcomings(measurement: Measurement, settings: Settings) -> Iterator[str]:
    """One message for each workload whose timed baseline is not the policy's, which leaves the verdict undecided."""
    for evaluation in measurement.evaluations:
        comparison = compare(evaluation, settings.gates)
        device, wanted = measurement.environment.device, settings.measure.baseline
        if comparison and (doubt := baseline_doubt(evaluation, comparison, device, wanted)):
            yield f"{evaluation.workload}: {doubt}"


def judge_admitted(
    measurement: Measurement, path: Path, settings: Settings, impl: str | None, device: str | None, required: bool
) -> Run:
    """Judges the measurement of a file. With `required`, a missing required workload is undecided.

    Raises InconsistentFileError if the measurement is not of `impl` and `device`, where those are given.
    """
    measurement = require_subject(measurement, path, impl, device)
    return judge(with_required_workloads(measurement, settings) if required else measurement, settings.gates)
