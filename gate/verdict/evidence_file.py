"""Reads evidence from a file. Refuses a truncated file, and one whose numbers contradict each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from gate import errors
from gate.records import SCHEMA_VERSION, Measurement, Run
from gate.records.codec import REMEASURE, from_json
from gate.storage import read_given


def load_evidence(path: Path) -> Measurement | Run:
    """The measurement or the run in a file.

    The verdict of a run is recomputed from its samples; a file with another verdict is refused.
    Raises a BadInputError with a subclass for each cause: missing file, truncated file, other schema version,
    contradiction, number that is not finite.
    """
    text = _read(path)
    kind = _kind(text, path)
    if kind is Measurement:
        return from_json(Measurement, text, str(path))
    run = from_json(Run, text, str(path))
    _refuse_other_verdict(run, path)
    return run


def measurement_of(record: Measurement | Run) -> Measurement:
    """The measurement, without a run's verdict."""
    return record.measurement if isinstance(record, Run) else record


def _read(path: Path) -> str:
    try:
        return read_given(path, "a measurement or a run.json").decode()
    except UnicodeDecodeError as error:
        raise errors.MalformedFileError(f"{path} is not UTF-8 text: {error.reason}; {REMEASURE}") from error


def _kind(text: str, path: Path) -> type[Measurement] | type[Run]:
    def no_constant(name: str) -> NoReturn:
        raise errors.NonFiniteNumberError(f"{path} contains {name}; {REMEASURE}")

    try:
        table = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:  # also: an integer, or a nesting, beyond any that is written
        raise errors.MalformedFileError(f"{path} is truncated or not JSON: {error}; {REMEASURE}") from error
    kinds = {"measurement": Measurement, "run": Run}
    if not isinstance(table, dict) or table.get("kind") not in list(kinds):
        raise errors.MalformedFileError(f"{path} contains neither a measurement nor a run; {REMEASURE}")
    if table.get("schema_version") != SCHEMA_VERSION:
        raise errors.SchemaVersionError(
            f"{path} has schema_version {table.get('schema_version')}, and this Kernel Gate reads {SCHEMA_VERSION}; "
            "use the version that wrote it, or measure again"
        )
    return kinds[table["kind"]]


def _refuse_other_verdict(run: Run, path: Path) -> None:
    from gate.verdict.judge import judge

    if _findings(judge(run.measurement, run.policy)) != _findings(run):
        raise errors.InconsistentFileError(f"{path}: comparisons or verdict do not match the samples; {REMEASURE}")


def _findings(run: Run) -> tuple[object, ...]:
    """Outcomes and numbers, without their wording, which may change between versions of Kernel Gate."""
    numbers = [replace(comparison, warnings=()) for comparison in run.comparisons]
    return run.verdict.outcome, [(gate.name, gate.workload, gate.outcome) for gate in run.verdict.gates], numbers
