"""What all records share: the check of their values, and the ways in which a stage can end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, Final, Literal

SchemaVersion = Literal[2]
SCHEMA_VERSION: Final[SchemaVersion] = 2
MIN_MS, MAX_MS = 1e-9, 1e9
"""From a picosecond to eleven days: no clock reads other times, and arithmetic with them would overflow."""
MAX_COUNT = 1e18
"""The largest count: larger than any counter holds, and far below the overflow of arithmetic."""


class Status(StrEnum):
    """How a stage ended; everything but `ok` names the cause."""

    OK = "ok"
    BUILD_FAILED = "build_failed"
    INCORRECT = "incorrect"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    TOO_SLOW = "too_slow"
    OUT_OF_MEMORY = "out_of_memory"
    UNSUPPORTED = "unsupported"
    ENVIRONMENT = "environment"


class Record:
    """Base of all records: pydantic reads them, and refuses JSON with an unknown field, NaN or infinity."""

    __slots__ = ()
    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}


def require(condition: bool, message: str) -> None:
    """Raises ValueError with the message if the condition is false."""
    if not condition:
        raise ValueError(message)


def require_form(text: str | None, form: str, description: str) -> None:
    """Raises ValueError if the text does not match the regular expression `form`; None means not recorded."""
    require(text is None or re.fullmatch(form, text) is not None, f"{description}, not {text!r}")


def require_commit(commit: str | None) -> None:
    """Raises ValueError if this is not a full git commit; None means not recorded."""
    require_form(commit, r"[0-9a-f]{40}|[0-9a-f]{64}", "a commit has 40 or 64 hexadecimal digits")


def require_times(times: Iterable[float]) -> None:
    """Raises ValueError for a time in ms outside of MIN_MS to MAX_MS."""
    within = all(MIN_MS <= time <= MAX_MS for time in times)
    require(within, f"a time lies between {MIN_MS:g} and {MAX_MS:g} ms")


def require_counts(counts: Iterable[float | None], least: float = 0) -> None:
    """Raises ValueError for a count below `least` or over MAX_COUNT; None means not measured."""
    within = all(count is None or least <= count <= MAX_COUNT for count in counts)
    require(within, f"a count lies between {least:g} and {MAX_COUNT:g}")
