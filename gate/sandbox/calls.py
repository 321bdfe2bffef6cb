"""The client of the fork server's jobs: requests in, their answers out, or the failure that took their place.

Starting a process costs more than most jobs do, so that several requests share one. If that process gives no answers,
each request is made again in a process of its own, so that the failure is laid to the request that caused it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gate.analysis.effort import USED
from gate.errors import GateError
from gate.machine.preflight import full_disk
from gate.records import Record, Status
from gate.records.codec import records_from_json
from gate.sandbox.client import WorkerServer
from gate.sandbox.job import Answer, Exit, JobKind, Request

FAULTS = (Status.CRASHED, Status.TIMED_OUT, Status.OUT_OF_MEMORY)
"""The failures that a broken machine would cause as well."""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """Why there is no answer."""

    status: Status
    message: str
    seconds: float = 0.0
    last_output_line: str = ""


def call(
    server: WorkerServer, kind: JobKind[Request, Answer], requests: Sequence[Request], limit_s: float
) -> list[Answer] | CallFailure:
    """Makes all requests in one process, within one time limit: an answer to each, or the failure of them all.

    A crash is the machine's failure if the disk is still full when the job's own files are gone.
    """
    answers = _read_answers(server.call(kind, requests, limit_s), kind, len(requests))
    results: Sequence[object] = [answers] if isinstance(answers, CallFailure) else answers
    crashed = any(getattr(result, "status", None) is Status.CRASHED for result in results)
    fault = full_disk() if crashed else None
    return CallFailure(Status.ENVIRONMENT, fault) if fault else answers


def _read_answers(ending: Exit, kind: JobKind[Request, Answer], count: int) -> list[Answer] | CallFailure:
    if ending.status is not Status.OK:
        last = f": {ending.last_output_line}" if ending.last_output_line else ""
        message = f"{kind.process} {ending.message}{last}"
        return CallFailure(ending.status, message, ending.seconds, ending.last_output_line)
    try:
        answers = records_from_json(kind.answer, ending.reply, f"the answer of {kind.process}")
    except GateError as error:
        return CallFailure(Status.CRASHED, str(error), ending.seconds)
    if len(answers) != count:
        return CallFailure(Status.CRASHED, f"{kind.process} gave {len(answers)} answers to {count} requests")
    return list(answers)


def call_each(
    server: WorkerServer, kind: JobKind[Request, Answer], requests: Sequence[Request], limit_s: float
) -> list[Answer | CallFailure]:
    """An answer or a failure for each request: from one process, or from one each if the common process failed.

    If the common process failed and each request succeeds alone, all have the common failure: a candidate that fails
    at its second workload is not excused. The exception is a common process that was ended for its time, while the
    requests alone took as long together.
    """
    if not requests:
        return []
    together = call(server, kind, requests, limit_s)
    if not isinstance(together, CallFailure):
        valid = _count_valid(together)
        return [*together[:valid], *_call_alone(server, kind, requests[valid:], limit_s)]
    if len(requests) == 1:
        return [together]
    started = time.monotonic()
    alone = _call_alone(server, kind, requests, limit_s)
    if together.status is Status.TIMED_OUT and time.monotonic() - started > USED * limit_s:
        return alone
    return alone if any(isinstance(answer, CallFailure) for answer in alone) else [together] * len(requests)


def _call_alone(
    server: WorkerServer, kind: JobKind[Request, Answer], requests: Sequence[Request], limit_s: float
) -> list[Answer | CallFailure]:
    return [answer for request in requests for answer in call_each(server, kind, [request], limit_s)]


def _count_valid(answers: Sequence[Record]) -> int:
    """How many answers count, up to the first that spoils its process: the device's context stays broken after it."""
    spoiling = [number for number, answer in enumerate(answers, 1) if _spoils_process(answer)]
    return spoiling[0] if spoiling else len(answers)


def _spoils_process(answer: Record) -> bool:
    """A fault, or a capture that failed."""
    return getattr(answer, "status", None) in FAULTS or getattr(answer, "uncapturable", None) is not None
