"""Where records of SDPA lie, and what may not be lost of them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from gate.errors import BadInputError, UnfitEnvironmentError
from gate.records import Measurement, Policy, Workload
from gate.storage import write_record
from gate.verdict.evidence_file import load_evidence, measurement_of
from gate.verdict.gate_trust import refuse_disturbed


def record_path(folder: Path, device_name: str) -> Path:
    """The record of a device: `NVIDIA H200` is in `nvidia-h200`."""
    return folder / re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-") / "sdpa.json"


def load_record(path: Path) -> Measurement:
    """Raises BadInputError where there is none."""
    if not path.exists():
        raise BadInputError(
            f"no record of this device at {path}; make one with `kernel-gate baseline`, and commit it"
        )
    return measurement_of(load_evidence(path))


def refuse_folder(folder: Path, *, needed: bool) -> None:
    """Raises BadInputError for what cannot hold records, or where records are `needed` and no folder is there."""
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is a file, and records lie in a folder; name one with --folder")
    if needed and not folder.is_dir():
        raise BadInputError(f"no folder {folder}: nothing is recorded there; name one with --folder, or record first")


def refuse_loss(path: Path, workloads: Collection[Workload]) -> None:
    """Raises BadInputError where a record has workloads that a new one would not have."""
    lost = (
        [workload for workload in load_record(path).workloads if workload not in workloads] if path.exists() else []
    )
    if lost:
        raise BadInputError(
            f"{path} has {len(lost)} workloads that would be lost, {lost[0]} for one; leave --shape and --dtype out, "
            "or record to another --folder"
        )


def save_record(measurement: Measurement, path: Path, policy: Policy) -> None:
    """Writes it. Raises UnfitEnvironmentError for one that was disturbed, or lacks what was asked for."""
    refuse_disturbed(measurement, policy)
    lacking = [
        evaluation.workload
        for evaluation in measurement.evaluations
        if evaluation.sdpa is None or not evaluation.sdpa.replicates
    ]
    if lacking:
        raise UnfitEnvironmentError(
            f"no backend was timed at {lacking[0]}, so that nothing was written; choose other workloads"
        )
    write_record(path, measurement)
