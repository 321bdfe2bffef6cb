"""A candidate's tunables: the values that kernel.toml allows, and the chosen configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gate.errors import BadInputError

Tunables = Mapping[str, tuple[int, ...]]
"""The allowed values of every tunable; the first is the default."""
Config = Mapping[str, int]
"""The chosen value of every tunable."""
NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def check_tunables(tunables: Tunables) -> None:
    """Raises ValueError for an invalid macro name or an invalid list of values."""
    for name, values in tunables.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"tunable '{name}' is not an upper-case name such as BLOCK_M")
        if not values or len(set(values)) < len(values):
            raise ValueError(f"tunable {name} needs at least one value and no duplicates, not {list(values)}")


def choose_config(tunables: Tunables, text: str | None) -> dict[str, int]:
    """Every tunable's value from `text` (BLOCK_M=64,BLOCK_N=64), otherwise its default.

    Raises BadInputError with the allowed values.
    """
    defaults = {name: values[0] for name, values in tunables.items()}
    return defaults | dict(_chosen(tunables, text)) if text else defaults


def _chosen(tunables: Tunables, text: str) -> Iterator[tuple[str, int]]:
    allowed = describe_tunables(tunables)
    chosen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadInputError(f"--config: '{part}' is not NAME=VALUE; allowed: {allowed}")
        if name not in tunables:
            raise BadInputError(f"--config: no tunable '{name}'; allowed: {allowed}")
        if value not in map(str, tunables[name]):
            raise BadInputError(f"--config: {name} cannot be '{value}'; allowed: {allowed}")
        if name in chosen:
            raise BadInputError(f"--config: {name} is set twice; set every tunable at most once")
        chosen.add(name)
        yield name, int(value)


def describe_tunables(tunables: Tunables) -> str:
    """Names and allowed values, the default first: BLOCK_M 64 32 128, BLOCK_N 64."""
    return ", ".join(f"{name} {' '.join(map(str, values))}" for name, values in tunables.items()) or "no tunables"


def to_text(config: Config) -> str:
    """BLOCK_M=64,BLOCK_N=64, sorted by name: equal for equal configurations."""
    return ",".join(f"{name}={config[name]}" for name in sorted(config))


def from_text(text: str) -> dict[str, int]:
    """The configuration from the text of `to_text`."""
    pairs = (pair.split("=") for pair in text.split(",") if pair)
    return {name: int(value) for name, value in pairs}
