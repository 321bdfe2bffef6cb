"""A candidate's tunables: the values that its kernel.toml allows, and the one of each that is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gate.errors import BadInputError

Tunables = Mapping[str, tuple[int, ...]]
"""The allowed values of each; the first is the default."""
Config = Mapping[str, int]
"""The value of each tunable."""
NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def check_tunables(tunables: Tunables) -> None:
    """Raises ValueError for what cannot be a macro, or allows nothing."""
    for name, values in tunables.items():
        if not NAME.fullmatch(name):
            raise ValueError(f"tunable '{name}' is not a name in capitals, like BLOCK_M")
        if not values or len(set(values)) < len(values):
            raise ValueError(f"tunable {name} has at least one value, each once, not {list(values)}")


def choose_config(tunables: Tunables, text: str | None) -> dict[str, int]:
    """Every tunable's value: by `text`, like BLOCK_M=64,BLOCK_N=64, else its default.

    Raises BadInputError, which lists what is allowed.
    """
    defaults = {name: values[0] for name, values in tunables.items()}
    return defaults | dict(_chosen(tunables, text)) if text else defaults


def _chosen(tunables: Tunables, text: str) -> Iterator[tuple[str, int]]:
    allowed = describe_tunables(tunables)
    seen: set[str] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadInputError(f"--config: '{part}' is not NAME=VALUE; allowed: {allowed}")
        if name not in tunables:
            raise BadInputError(f"--config: no tunable '{name}'; allowed: {allowed}")
        if value not in map(str, tunables[name]):
            raise BadInputError(f"--config: {name} cannot be '{value}'; allowed: {allowed}")
        if name in seen:
            raise BadInputError(f"--config: {name} is given twice; give each tunable once")
        seen.add(name)
        yield name, int(value)


def describe_tunables(tunables: Tunables) -> str:
    """BLOCK_M 64 32 128, BLOCK_N 64: each with its values, the default first."""
    return ", ".join(f"{name} {' '.join(map(str, values))}" for name, values in tunables.items()) or "no tunables"


def to_text(config: Config) -> str:
    """BLOCK_M=64,BLOCK_N=64, sorted by name: the same for equal configurations."""
    return ",".join(f"{name}={config[name]}" for name in sorted(config))


def from_text(text: str) -> dict[str, int]:
    """What `to_text` wrote."""
    pairs = (pair.split("=") for pair in text.split(",") if pair)
    return {name: int(value) for name, value in pairs}
