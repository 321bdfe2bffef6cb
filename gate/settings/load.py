"""Loads settings: defaults, then gate.toml, then `--set section.name=value`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gate.errors import BadInputError
from gate.settings.model import Settings
from gate.storage import MAX_TOML, read_given

RENAMED = {
    "measure.looks": "measure.interim_replicates",
    "measure.repeats": "measure.max_retries",
    "wider": "extra_workloads",
}
"""Settings of earlier versions, and what they are called now."""


def load_settings(path: Path | None = None, overrides: Iterable[str] = ()) -> Settings:
    """Settings from gate.toml at `path` (default: in this folder, if it exists), then the overrides.

    Values that neither sets keep their defaults, also in nested tables.
    Raises BadInputError for an unreadable file, an unknown name or an invalid value.
    """
    from pydantic import TypeAdapter, ValidationError

    table, applied = _merged(asdict(Settings()), _read(path)), tuple(overrides)
    for override in applied:
        _apply(table, override)
    _refuse_renamed(table, path, applied)
    try:
        return TypeAdapter(Settings).validate_python(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise BadInputError(
            f"{_origin(where, path, applied)}: {where or 'settings'}: {reason}; gate.toml lists all names"
        ) from error


def _refuse_renamed(table: dict[str, Any], path: Path | None, overrides: Iterable[str]) -> None:
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        found = table.get(section)
        if found is not None and (not key or (isinstance(found, dict) and key in found)):
            raise BadInputError(f"{_origin(old, path, overrides)}: {old} has a new name; write {new}")


def _origin(where: str, path: Path | None, overrides: Iterable[str]) -> str:
    """The overrides that set what lies at `where`, or else the policy file."""
    concerned = (override for override in overrides if _concerns(override.partition("=")[0], where))
    return ", ".join(concerned) or str(path or "gate.toml")


def _concerns(name: str, where: str) -> bool:
    """Whether one of the two names is equal to the other or contains it."""
    one, other = name.split("."), where.split(".")
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _read(path: Path | None) -> dict[str, Any]:
    chosen = path or Path("gate.toml")
    if path is None and not chosen.exists():
        return {}
    try:
        return tomllib.loads(read_given(chosen, "a policy file, such as gate.toml", limit=MAX_TOML).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{chosen} is not TOML: {error}; fix that line") from error


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    deeper = {name: _merged(under[name], over[name]) for name in over if _both_tables(under.get(name), over[name])}
    return under | over | deeper


def _both_tables(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _apply(table: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, key = name.split(".")
    if not (equals and sections):
        raise BadInputError(f"'{override}' is not section.name=value; write for example gates.alpha=0.01")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise BadInputError(f"'{override}': {section} is a value, not a section; gate.toml lists all names")
    table[key] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word, as in measure.baseline=flash
