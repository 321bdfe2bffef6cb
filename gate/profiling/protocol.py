"""What is asked of the program under ncu, and what it answers. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records import Ceilings, Record, Status, Workload

ANSWER = "kernel-gate: "
"""Begins the last line that the harness prints; an answer follows."""


@dataclass(frozen=True, slots=True)
class Call(Record):
    """What to call, on what."""

    implementation: str
    workload: Workload


@dataclass(frozen=True, slots=True)
class NcuRequest(Record):
    """The calls, in order. With `ceilings`, also what the device can reach."""

    device: str
    calls: tuple[Call, ...]
    candidate: str | None
    """The candidate's library or Python file; None where only SDPA is called."""
    file_mb: int
    ceilings: bool = False


@dataclass(frozen=True, slots=True)
class NcuAnswer(Record):
    """How many calls came to an end, and what ended the next one."""

    status: Status
    done: int
    message: str = ""
    ceilings: Ceilings | None = None
