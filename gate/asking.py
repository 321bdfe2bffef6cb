"""Asks candidates' processes and reads what they answer: a record, or what went wrong instead of one.

Starting a process costs more than most jobs do, so that several requests share one. Where that process gives no
answer, each request is asked again in a process of its own, so that a fault is laid at the right door.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from gate.effort import USED
from gate.errors import GateError, UnfitEnvironmentError
from gate.files import from_json, to_json
from gate.messages import Called, CheckRequest, EnvironmentRequest, TraceRequest, Traces
from gate.preflight import full_disk
from gate.records import Case, Correctness, Environment, Record, Status, Trace, Workload
from gate.registry import Candidate
from gate.sdpa import PREFIX
from gate.settings import Settings
from gate.workers import Ending, WorkerServer

TRACE_S = 120.0
FAULTS = (Status.CRASHED, Status.TIMED_OUT, Status.OUT_OF_MEMORY)
"""Ways to fail that a broken machine would look like too."""

BY_SIZE = {
    Status.TIMED_OUT: "; if it is slow and does not hang, raise limits.check_s",
    Status.OUT_OF_MEMORY: "",
}
"""Ways to fail that a request which is too large looks like too, and what a candidate's author may do about it."""
SMALLER = "choose a smaller shape, or raise the limit (`--set limits.check_s=...`, limits.memory_mb)"
CONTROL = PREFIX + "flash"

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer."""

    status: Status
    message: str


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """A kind of job: its name in gate/jobs.py, the record that it answers with, and whose process does it."""

    name: str
    answer: type[R]
    who: str = "the candidate's process"


CALL, CHECK = Kind("call", Called), Kind("check", Correctness)


def ask(server: WorkerServer, kind: Kind[R], requests: Sequence[Record], limit_s: float) -> list[R] | Failure:
    """All requests in one process, within one limit: an answer to each, or the failure of them all.

    What crashes on a disk that is still full when the job's own files are gone is the machine's failure.
    """
    ending = server.call({"kind": kind.name, "requests": [to_json(each) for each in requests]}, limit_s)
    answers = _answers_in(ending, kind, len(requests))
    seen = [answers] if isinstance(answers, Failure) else answers
    crashed = any(getattr(each, "status", None) is Status.CRASHED for each in seen)
    fault = full_disk() if crashed else None
    return Failure(Status.ENVIRONMENT, fault) if fault else answers


def _answers_in(ending: Ending, kind: Kind[R], count: int) -> list[R] | Failure:
    if ending.status is not Status.OK:
        return Failure(ending.status, f"{kind.who} {ending.message}{_last_words(ending)}")
    try:
        answers = [from_json(kind.answer, each, f"the answer of {kind.who}") for each in ending.replies]
    except GateError as error:
        return Failure(Status.CRASHED, str(error))
    if len(answers) != count:
        return Failure(Status.CRASHED, f"{kind.who} gave {len(answers)} answers to {count} requests")
    return answers


def ask_each(server: WorkerServer, kind: Kind[R], requests: Sequence[Record], limit_s: float) -> list[R | Failure]:
    """An answer or a failure for each request: from one process, or from one each where that process failed.

    Where it failed and each request succeeds alone, all have the failure of their common process: a candidate that
    bears no second workload is not excused. Unless it was ended for its time, and the requests alone took that long.
    """
    if not requests:
        return []
    together = ask(server, kind, requests, limit_s)
    if not isinstance(together, Failure):
        sound = _sound(together)
        return [*together[:sound], *_alone(server, kind, requests[sound:], limit_s)]
    if len(requests) == 1:
        return [together]
    started = time.monotonic()
    alone = _alone(server, kind, requests, limit_s)
    if together.status is Status.TIMED_OUT and time.monotonic() - started > USED * limit_s:
        return alone
    return alone if any(isinstance(each, Failure) for each in alone) else [together] * len(requests)


def _alone(server: WorkerServer, kind: Kind[R], requests: Sequence[Record], limit_s: float) -> list[R | Failure]:
    return [answer for each in requests for answer in ask_each(server, kind, [each], limit_s)]


def _sound(answers: Sequence[Record]) -> int:
    """How many answers to believe: a fault, or a capture that failed, stays with the device's context."""
    faults = [number for number, each in enumerate(answers, 1) if _spoils(each)]
    return faults[0] if faults else len(answers)


def _spoils(answer: Record) -> bool:
    return getattr(answer, "status", None) in FAULTS or getattr(answer, "uncapturable", None) is not None


def _last_words(ending: Ending) -> str:
    return f": {ending.last_words}" if ending.last_words else ""


def describe_environment(server: WorkerServer, device: str) -> Environment:
    """The environment as a worker sees it. Raises UnfitEnvironmentError where it cannot be had."""
    request = to_json(EnvironmentRequest(device))
    ending = server.call({"kind": "environment", "requests": [request]}, 60)
    if ending.status is not Status.OK:
        reason = ending.last_words or ending.message
        raise UnfitEnvironmentError(f"device '{device}' cannot be used: {reason}; see `kernel-gate doctor`")
    return from_json(Environment, ending.replies[0], "the worker's answer")


def check_candidate(
    server: WorkerServer,
    candidate: Candidate,
    source: str | None,
    cases: Mapping[Case, int],
    device: str,
    settings: Settings,
) -> list[Correctness]:
    """The candidate held against the oracle on each case, with inputs from its seed."""
    budget_s = USED * settings.limits.check_s
    refusals = {each: refusal for each in cases if (refusal := candidate.supports.refusal(each.workload))}
    requests = [
        CheckRequest(device, each, candidate.name, source, settings.tolerance[each.workload.dtype], seed, budget_s)
        for each, seed in cases.items()
        if each not in refusals
    ]
    late = None if candidate.compiled else compile_in_calls(server, requests, settings.limits.build_s)
    if late is not None:
        seen = iter([Correctness(late.status, late.message)] * len(requests))
    else:
        seen = iter(_checked(server, requests, settings.limits.check_s))
    return [Correctness(Status.UNSUPPORTED, refusals[each]) if each in refusals else next(seen) for each in cases]


def compile_in_calls(server: WorkerServer, requests: Sequence[CheckRequest], limit_s: float) -> Failure | None:
    """Calls a Python candidate once on each case, within the time of a build: it may compile then, for its caches.

    A failure only where that took too long; any other is found by the check, and laid to its case.
    """
    called = ask(server, CALL, requests, limit_s) if requests else []
    if not isinstance(called, Failure) or called.status is not Status.TIMED_OUT:
        return None
    reason = "its first call on each workload, in which it may compile; raise limits.build_s if it needs longer"
    return replace(called, message=f"{called.message}: {reason}")


def check_backend(
    server: WorkerServer, backend: str, cases: Mapping[Case, int], device: str, settings: Settings
) -> list[Correctness]:
    """One of SDPA's backends in a candidate's place: whether it is right in this environment."""
    limit_s = settings.limits.check_s
    requests = [
        CheckRequest(
            device, each, PREFIX + backend, None, settings.tolerance[each.workload.dtype], seed, USED * limit_s
        )
        for each, seed in cases.items()
    ]
    return _checked(server, requests, limit_s)


def _checked(server: WorkerServer, requests: Sequence[CheckRequest], limit_s: float) -> list[Correctness]:
    answers = ask_each(server, CHECK, requests, limit_s)
    return [_correctness(server, *pair, limit_s) for pair in zip(answers, requests, strict=True)]


def _correctness(
    server: WorkerServer, answer: Correctness | Failure, request: CheckRequest, limit_s: float
) -> Correctness:
    """A failure is the machine's, or the request's, where SDPA in the candidate's place fails as well."""
    if isinstance(answer, Correctness):
        return answer
    if answer.status not in BY_SIZE:
        return Correctness(answer.status, answer.message)
    (control,) = ask_each(server, CHECK, [replace(request, impl=CONTROL, candidate=None)], limit_s)
    if control.status in (*BY_SIZE, Status.ENVIRONMENT):
        return Correctness(Status.ENVIRONMENT, f"SDPA itself cannot be checked here: {control.message}; {SMALLER}")
    return Correctness(answer.status, f"{answer.message}{BY_SIZE[answer.status]}")


def trace_implementations(
    server: WorkerServer,
    device: str,
    asked: Sequence[tuple[Workload, tuple[str, ...]]],
    source: str | None = None,
) -> list[tuple[Trace, ...]]:
    """For each workload the kernels of each implementation; one that cannot be traced has a trace that says why."""
    requests = [TraceRequest(device, workload, names, source) for workload, names in asked]
    answers = ask_each(server, Kind("trace", Traces), requests, TRACE_S)
    return [_traces(answer, names) for answer, (_, names) in zip(answers, asked, strict=True)]


def _traces(answer: Traces | Failure, names: tuple[str, ...]) -> tuple[Trace, ...]:
    if isinstance(answer, Traces):
        return answer.traces
    return tuple(Trace(name, refusal=answer.message) for name in names)
