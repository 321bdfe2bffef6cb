"""The request to the program under ncu, and its answer. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records import Ceilings, Record, Status, Workload

ANSWER = "kernel-gate: "
"""Prefix of the program's last line of output; the answer follows it."""


@dataclass(frozen=True, slots=True)
class Call(Record):
    """An implementation, and the workload to call it on."""

    implementation: str
    workload: Workload


@dataclass(frozen=True, slots=True)
class NcuRequest(Record):
    """The calls, in order. With `ceilings`, the device's peak rates are measured as well."""

    device: str
    calls: tuple[Call, ...]
    candidate: str | None
    """The candidate's library or Python file; None where only SDPA is called."""
    file_mb: int
    ceilings: bool = False


@dataclass(frozen=True, slots=True)
class NcuAnswer(Record):
    """The number of finished calls, and the failure of the next one."""

    status: Status
    done: int
    message: str = ""
    ceilings: Ceilings | None = None
