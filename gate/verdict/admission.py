"""Which evidence is admitted, and judged as it was asked for: by the policy in force, of what was to be measured.

A file from a runner that ran the candidate may say anything, so that it decides neither.
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
    """The same measurement. Raises InconsistentFileError where another candidate or device was measured.

    The device decides which workloads are required, so a file may not choose it.
    """
    seen = (("candidate", impl, measurement.impl), ("device", device, measurement.environment.device))
    for what, wanted, found in seen:
        if wanted is not None and found != wanted:
            raise InconsistentFileError(f"{path} is of the {what} {found}, and {wanted} was asked for; measure again")
    return measurement


def with_required_workloads(measurement: Measurement, settings: Settings) -> Measurement:
    """The same evidence, asked for all that the policy requires: its workloads, against its baseline.

    Raises BadInputError where there is no such baseline.
    """
    device, baseline = measurement.environment.device, settings.measure.baseline
    backends_of(device, baseline)
    asked = dict.fromkeys((*settings.required(device), *measurement.workloads))
    return replace(measurement, workloads=tuple(asked), baseline=baseline)


def shortcomings(measurement: Measurement, settings: Settings) -> Iterator[str]:
    """Where another baseline was timed than the policy's: what `held_to` would leave undecided."""
    for evaluation in measurement.evaluations:
        comparison = compare(evaluation, settings.gates)
        device, wanted = measurement.environment.device, settings.measure.baseline
        if comparison and (doubt := baseline_doubt(evaluation, comparison, device, wanted)):
            yield f"{evaluation.workload}: {doubt}"


def judge_admitted(
    measurement: Measurement, path: Path, settings: Settings, impl: str | None, device: str | None, required: bool
) -> Run:
    """The verdict on a file's measurement. With `required`, what the policy requires and is not there is undecided.

    Raises InconsistentFileError where it is of another candidate or device than `impl` and `device`, if given.
    """
    measurement = require_subject(measurement, path, impl, device)
    return judge(with_required_workloads(measurement, settings) if required else measurement, settings.gates)
