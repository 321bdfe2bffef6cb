"""Records to JSON and back. A record that contradicts itself is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gate import errors
from gate.records.base import Record
from gate.records.evidence import Measurement
from gate.records.verdict import Run

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError


R = TypeVar("R", bound=Record)
REMEASURE = "measure again, or name another file"
OTHER_VERSION = "use the version of Kernel Gate that wrote it, or measure again"


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Pydantic's reader and writer of a type, made once."""
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def prepare_codecs(*kinds: type[Record]) -> None:
    """Makes the readers and writers of lists of these records now, instead of when the first is met."""
    for kind in kinds:
        _adapter(_list_of(kind))


def to_json(record: Record, *, indent: int | None = None) -> str:
    """The record's JSON, the same bytes for equal records."""
    text: bytes = _adapter(type(record)).dump_json(record, indent=indent)
    return text.decode()


def from_json(kind: type[R], text: str | bytes, source: str) -> R:
    """A record of `kind` from JSON. `source` names the origin of the text in error messages.

    Raises MalformedFileError, SchemaVersionError, NonFiniteNumberError or InconsistentFileError.
    """
    record: R = _read(kind, text, source)
    return record


def _read(kind: Any, text: str | bytes, source: str) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text)
    except ValidationError as error:
        _refuse(error, source)


def _list_of(kind: type[Record]) -> Any:
    return tuple[kind, ...]  # type: ignore[valid-type]  # the type is made while running


def records_to_json(kind: type[R], records: Sequence[R]) -> bytes:
    """A JSON list of records of one kind."""
    content: bytes = _adapter(_list_of(kind)).dump_json(tuple(records))
    return content


def records_from_json(kind: type[R], content: bytes, source: str) -> tuple[R, ...]:
    """The records of a JSON list. `source` and errors are as for `from_json`."""
    records: tuple[R, ...] = _read(_list_of(kind), content, source)
    return records


def _refuse(error: ValidationError, source: str) -> NoReturn:
    every = error.errors()
    versions = [detail["input"] for detail in every if detail["loc"] == ("schema_version",)]
    if versions:
        raise errors.SchemaVersionError(f"{source} has schema_version {versions[0]}; {OTHER_VERSION}") from error
    first = every[0]
    where = ".".join(str(part) for part in first["loc"])
    at = f" at {where}" if where else ""
    if first["type"] == "finite_number":
        raise errors.NonFiniteNumberError(f"{source} carries NaN or infinity{at}; {REMEASURE}") from error
    if first["type"] == "value_error":
        said = first["msg"].removeprefix("Value error, ")
        raise errors.InconsistentFileError(f"{source} contradicts itself{at}: {said}; {REMEASURE}") from error
    raise errors.MalformedFileError(f"{source} is not a record{at}: {first['msg']}; {REMEASURE}") from error


def schema() -> dict[str, Any]:
    """The JSON Schema of the files that `load` reads."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kernel Gate: a measurement or a run",
        **_adapter(Measurement | Run).json_schema(),
    }
