"""What all records share: how they refuse what makes no sense, and how a stage may end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, Final, Literal

SchemaVersion = Literal[2]
SCHEMA_VERSION: Final[SchemaVersion] = 2
MIN_MS, MAX_MS = 1e-9, 1e9
"""A time is a picosecond at least and eleven days at most: what lies beyond overflows, and no clock reads it."""
MAX_COUNT = 1e18
"""Of whatever is counted: more than any counter holds, and far from where arithmetic overflows."""


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
    """Base of all records: JSON with unknown fields, NaN or infinity is refused (read by pydantic)."""

    __slots__ = ()
    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}


def require(condition: bool, message: str) -> None:
    """Raises ValueError with the message where the condition does not hold."""
    if not condition:
        raise ValueError(message)


def require_form(text: str | None, form: str, description: str) -> None:
    """Raises ValueError for a text that does not match the regular expression `form`; None is not recorded."""
    require(text is None or re.fullmatch(form, text) is not None, f"{description}, not {text!r}")


def require_commit(commit: str | None) -> None:
    """Raises ValueError for what is no full git commit; None is not recorded."""
    require_form(commit, r"[0-9a-f]{40}|[0-9a-f]{64}", "a commit has 40 or 64 hexadecimal digits")


def require_times(times: Iterable[float]) -> None:
    """Raises ValueError for a time, in ms, that no clock reads."""
    within = all(MIN_MS <= each <= MAX_MS for each in times)
    require(within, f"a time lies between {MIN_MS:g} and {MAX_MS:g} ms")


def require_counts(counts: Iterable[float | None], least: float = 0) -> None:
    """Raises ValueError for a count that nothing can have; None is one that was not read."""
    within = all(each is None or least <= each <= MAX_COUNT for each in counts)
    require(within, f"what is counted lies between {least:g} and {MAX_COUNT:g}")
