"""Stores SDPA's recorded measurements, one file for each GPU model, and refuses to lose workloads of them."""

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
    """Path of a device's record: `NVIDIA H200` gives FOLDER/nvidia-h200/sdpa.json."""
    return folder / re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-") / "sdpa.json"


def load_record(path: Path) -> Measurement:
    """Raises BadInputError if the record does not exist."""
    if not path.exists():
        raise BadInputError(
            f"no recorded baseline for this device: {path} does not exist; record one with `kernel-gate baseline` "
            "and commit it"
        )
    return measurement_of(load_evidence(path))


def refuse_folder(folder: Path, *, needed: bool) -> None:
    """Raises BadInputError if `folder` is a file, or if it is `needed` and does not exist."""
    if folder.exists() and not folder.is_dir():
        raise BadInputError(f"{folder} is a file, not a folder; choose a folder for the records with --folder")
    if needed and not folder.is_dir():
        raise BadInputError(f"folder {folder} does not exist; choose one with --folder, or record a baseline first")


def refuse_loss(path: Path, workloads: Collection[Workload]) -> None:
    """Raises BadInputError if the existing record has workloads that the new one lacks."""
    lost = (
        [workload for workload in load_record(path).workloads if workload not in workloads] if path.exists() else []
    )
    if lost:
        raise BadInputError(
            f"this would delete {len(lost)} recorded workloads from {path}, for example {lost[0]}; "
            "omit --shape and --dtype, or record to another --folder"
        )


def save_record(measurement: Measurement, path: Path, policy: Policy) -> None:
    """Writes the record. Raises UnfitEnvironmentError if the GPU was disturbed or a workload was not timed."""
    refuse_disturbed(measurement, policy)
    lacking = [
        evaluation.workload
        for evaluation in measurement.evaluations
        if evaluation.sdpa is None or not evaluation.sdpa.replicates
    ]
    if lacking:
        raise UnfitEnvironmentError(
            f"no SDPA backend was timed at {lacking[0]}; nothing was written; choose other workloads"
        )
    write_record(path, measurement)
