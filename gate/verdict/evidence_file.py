"""Reads evidence from a file. Refuses a truncated file, and one whose numbers contradict each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from gate import errors
from gate.records import SCHEMA_VERSION, Measurement, Run
from gate.records.codec import OTHER_VERSION, REMEASURE, from_json
from gate.records.conversion import OLD, convert
from gate.storage import read_given


def load_evidence(path: Path) -> Measurement | Run:
    """The measurement or the run in a file.

    The verdict of a run is recomputed from its samples; a file with another verdict is refused.
    Raises a BadInputError with a subclass for each cause: missing file, truncated file, other schema version,
    contradiction, number that is not finite.
    """
    text = _read(path)
    table = _parse(text, path)
    if _version(table) != SCHEMA_VERSION:
        remedy = f"convert it with `kernel-gate convert {path}`" if _version(table) == OLD else OTHER_VERSION
        raise errors.SchemaVersionError(
            f"{path} has schema_version {table.get('schema_version')}, and this Kernel Gate reads {SCHEMA_VERSION}; "
            f"{remedy}"
        )
    return _record(table["kind"], text, path)


def load_converted(path: Path) -> Measurement | Run | None:
    """The measurement or the run of a file that has the schema's version 1; None if the file has this version.

    Raises BadInputError for a file that is neither, and for what `load_evidence` refuses.
    """
    table = _parse(_read(path), path)
    if _version(table) != OLD:
        load_evidence(path)
        return None
    return _record(table["kind"], json.dumps(convert(table)), path)


def measurement_of(record: Measurement | Run) -> Measurement:
    """The measurement, without a run's verdict."""
    return record.measurement if isinstance(record, Run) else record


def _read(path: Path) -> str:
    try:
        return read_given(path, "a measurement or a run.json").decode()
    except UnicodeDecodeError as error:
        raise errors.MalformedFileError(f"{path} is not UTF-8 text: {error.reason}; {REMEASURE}") from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    """The JSON of a measurement or a run, of any version."""

    def no_constant(name: str) -> NoReturn:
        raise errors.NonFiniteNumberError(f"{path} contains {name}; {REMEASURE}")

    try:
        table = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:  # also: an integer, or a nesting, beyond any that is written
        raise errors.MalformedFileError(f"{path} is truncated or not JSON: {error}; {REMEASURE}") from error
    if not isinstance(table, dict) or table.get("kind") not in ("measurement", "run"):
        raise errors.MalformedFileError(f"{path} contains neither a measurement nor a run; {REMEASURE}")
    return table


def _version(table: dict[str, Any]) -> int | None:
    version = table.get("schema_version")
    return version if type(version) is int else None


def _record(kind: str, text: str, path: Path) -> Measurement | Run:
    if kind == "measurement":
        return from_json(Measurement, text, str(path))
    run = from_json(Run, text, str(path))
    _refuse_other_verdict(run, path)
    return run


def _refuse_other_verdict(run: Run, path: Path) -> None:
    from gate.verdict.judge import judge

    if _findings(judge(run.measurement, run.policy)) != _findings(run):
        raise errors.InconsistentFileError(f"{path}: comparisons or verdict do not match the samples; {REMEASURE}")


def _findings(run: Run) -> tuple[object, ...]:
    """Outcomes and numbers, without their wording, which may change between versions of Kernel Gate."""
    numbers = [replace(comparison, warnings=()) for comparison in run.comparisons]
    return run.verdict.outcome, [(gate.name, gate.workload, gate.outcome) for gate in run.verdict.gates], numbers
