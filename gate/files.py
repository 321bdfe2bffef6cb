"""Records to JSON files and back. Nothing is half-written, and nothing that contradicts itself is read."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

from gate import errors
from gate.given_file import read_given
from gate.records import SCHEMA_VERSION, Measurement, Record, Run

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

R = TypeVar("R", bound=Record)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REMEASURE = "measure again, or name another file"


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Pydantic's reader and writer of a type, made once."""
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def prepare(*kinds: type[Record]) -> None:
    """Makes the readers and writers of these records now, instead of when the first is met."""
    for kind in kinds:
        _adapter(kind)


def to_json(record: Record, *, indent: int | None = None) -> str:
    """The record's JSON, the same bytes for equal records."""
    text: bytes = _adapter(type(record)).dump_json(record, indent=indent)
    return text.decode()


def from_json(kind: type[R], text: str | bytes, source: str) -> R:
    """A record of `kind` from JSON. `source` names where the text came from, for the errors' messages.

    Raises MalformedFileError, NonFiniteNumberError or InconsistentFileError.
    """
    from pydantic import ValidationError

    try:
        record: R = _adapter(kind).validate_json(text)
    except ValidationError as error:
        _refuse(error, source)
    return record


def _refuse(error: ValidationError, source: str) -> NoReturn:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    at = f" at {where}" if where else ""
    if first["type"] == "finite_number":
        raise errors.NonFiniteNumberError(f"{source} carries NaN or infinity{at}; {REMEASURE}") from error
    if first["type"] == "value_error":
        said = first["msg"].removeprefix("Value error, ")
        raise errors.InconsistentFileError(f"{source} contradicts itself{at}: {said}; {REMEASURE}") from error
    raise errors.MalformedFileError(f"{source} is not a record{at}: {first['msg']}; {REMEASURE}") from error


def load(path: Path) -> Measurement | Run:
    """The measurement or the run in a file.

    A run is judged anew from its samples, and refused where the file's comparisons or verdict say otherwise.
    Raises a BadInputError that tells a missing file, a truncated one, another schema version, a contradiction and
    a number that is not finite apart.
    """
    text = _read(path)
    kind = _kind(text, path)
    if kind is Measurement:
        return from_json(Measurement, text, str(path))
    run = from_json(Run, text, str(path))
    _refuse_other_verdict(run, path)
    return run


def measurement_of(record: Measurement | Run) -> Measurement:
    """The evidence alone."""
    return record.measurement if isinstance(record, Run) else record


def _read(path: Path) -> str:
    try:
        return read_given(path, "a measurement or a run.json").decode()
    except UnicodeDecodeError as error:
        raise errors.MalformedFileError(f"{path} is not text: {error.reason}; {REMEASURE}") from error


def _kind(text: str, path: Path) -> type[Measurement] | type[Run]:
    def no_constant(name: str) -> NoReturn:
        raise errors.NonFiniteNumberError(f"{path} carries {name}; {REMEASURE}")

    try:
        table = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:  # also: an integer, or a nesting, beyond any that is written
        raise errors.MalformedFileError(f"{path} is truncated or not JSON: {error}; {REMEASURE}") from error
    kinds = {"measurement": Measurement, "run": Run}
    if not isinstance(table, dict) or table.get("kind") not in list(kinds):
        raise errors.MalformedFileError(f"{path} is neither a measurement nor a run; {REMEASURE}")
    if table.get("schema_version") != SCHEMA_VERSION:
        raise errors.SchemaVersionError(
            f"{path} has schema_version {table.get('schema_version')}, and this Kernel Gate reads {SCHEMA_VERSION}; "
            "use the version that wrote it, or measure again"
        )
    return kinds[table["kind"]]


def _refuse_other_verdict(run: Run, path: Path) -> None:
    from gate.judge import judge

    if _findings(judge(run.measurement, run.policy)) != _findings(run):
        raise errors.InconsistentFileError(
            f"{path}: its comparisons or verdict are not what its samples say; {REMEASURE}"
        )


def _findings(run: Run) -> tuple[object, ...]:
    """What was found, without the words for it: those may change from one version of Kernel Gate to the next."""
    numbers = [replace(each, warnings=()) for each in run.comparisons]
    return run.verdict.outcome, [(gate.name, gate.workload, gate.outcome) for gate in run.verdict.gates], numbers


def write_record(path: Path, record: Record, *, indent: int | None = None) -> None:
    """Writes the record's JSON to `path`, whole or not at all. Raises what `write_text` does."""
    write_text(path, to_json(record, indent=indent) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` by a temporary file beside it and a rename.

    Raises UnwritableOutputError, or UnfitEnvironmentError where the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(path) as file:
            try:
                file.write(text)
                file.close()
                os.chmod(file.name, 0o644)  # noqa: PTH101  # a temporary file starts as 0600
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno in NO_SPACE:
            remedy = errors.MACHINE_REMEDIES[error.errno or 0]
            raise errors.UnfitEnvironmentError(f"cannot write {path}: {error.strerror}; {remedy}") from error
        raise errors.UnwritableOutputError(
            f"cannot write {path}: {error.strerror}; choose an output path that can be written"
        ) from error


def _temporary_beside(path: Path) -> IO[str]:
    return tempfile.NamedTemporaryFile(  # closed and renamed by the caller
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of the files that `load` reads."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kernel Gate: a measurement or a run",
        **_adapter(Measurement | Run).json_schema(),
    }
