"""Asks candidates' processes and reads what they answer: a record, or what went wrong instead of one.

Starting a process costs more than most jobs do, so that several requests share one. Where that process gives no
answer, each request is asked again in a process of its own, so that a fault is laid at the right door.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gate.analysis.effort import USED
from gate.errors import GateError
from gate.machine.preflight import full_disk
from gate.records import Record, Status
from gate.records.codec import from_json, to_json
from gate.sandbox.client import Exit, WorkerServer

FAULTS = (Status.CRASHED, Status.TIMED_OUT, Status.OUT_OF_MEMORY)
"""Ways to fail that a broken machine would look like too."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Why there is no answer."""

    status: Status
    message: str


@dataclass(frozen=True, slots=True)
class JobKind(Generic[R]):
    """A kind of job: its name in gate/worker.py, the record that it answers with, and whose process does it."""

    name: str
    answer: type[R]
    who: str = "the candidate's process"


def call(server: WorkerServer, kind: JobKind[R], requests: Sequence[Record], limit_s: float) -> list[R] | CallFailure:
    """All requests in one process, within one limit: an answer to each, or the failure of them all.

    What crashes on a disk that is still full when the job's own files are gone is the machine's failure.
    """
    ending = server.call({"kind": kind.name, "requests": [to_json(each) for each in requests]}, limit_s)
    answers = _answers_in(ending, kind, len(requests))
    seen = [answers] if isinstance(answers, CallFailure) else answers
    crashed = any(getattr(each, "status", None) is Status.CRASHED for each in seen)
    fault = full_disk() if crashed else None
    return CallFailure(Status.ENVIRONMENT, fault) if fault else answers


def _answers_in(ending: Exit, kind: JobKind[R], count: int) -> list[R] | CallFailure:
    if ending.status is not Status.OK:
        return CallFailure(ending.status, f"{kind.who} {ending.message}{_last_output_line(ending)}")
    try:
        answers = [from_json(kind.answer, each, f"the answer of {kind.who}") for each in ending.replies]
    except GateError as error:
        return CallFailure(Status.CRASHED, str(error))
    if len(answers) != count:
        return CallFailure(Status.CRASHED, f"{kind.who} gave {len(answers)} answers to {count} requests")
    return answers


def call_each(
    server: WorkerServer, kind: JobKind[R], requests: Sequence[Record], limit_s: float
) -> list[R | CallFailure]:
    """An answer or a failure for each request: from one process, or from one each where that process failed.

    Where it failed and each request succeeds alone, all have the failure of their common process: a candidate that
    bears no second workload is not excused. Unless it was ended for its time, and the requests alone took that long.
    """
    if not requests:
        return []
    together = call(server, kind, requests, limit_s)
    if not isinstance(together, CallFailure):
        sound = _sound(together)
        return [*together[:sound], *_alone(server, kind, requests[sound:], limit_s)]
    if len(requests) == 1:
        return [together]
    started = time.monotonic()
    alone = _alone(server, kind, requests, limit_s)
    if together.status is Status.TIMED_OUT and time.monotonic() - started > USED * limit_s:
        return alone
    return alone if any(isinstance(each, CallFailure) for each in alone) else [together] * len(requests)


def _alone(
    server: WorkerServer, kind: JobKind[R], requests: Sequence[Record], limit_s: float
) -> list[R | CallFailure]:
    return [answer for each in requests for answer in call_each(server, kind, [each], limit_s)]


def _sound(answers: Sequence[Record]) -> int:
    """How many answers to believe: a fault, or a capture that failed, stays with the device's context."""
    faults = [number for number, each in enumerate(answers, 1) if _spoils(each)]
    return faults[0] if faults else len(answers)


def _spoils(answer: Record) -> bool:
    return getattr(answer, "status", None) in FAULTS or getattr(answer, "uncapturable", None) is not None


def _last_output_line(ending: Exit) -> str:
    return f": {ending.last_output_line}" if ending.last_output_line else ""
