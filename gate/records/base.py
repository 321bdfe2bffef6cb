"""What all records share: how they refuse what makes no sense, and how a stage may end."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final

SCHEMA_VERSION: Final = 1


class Status(StrEnum):
    """How a stage ended; everything but `ok` names the cause."""

    OK = "ok"
    BUILD_FAILED = "build_failed"
    INCORRECT = "incorrect"
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
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
