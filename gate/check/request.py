"""Runs checks in a candidate's process; groups of cases share a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gate.analysis.effort import USED
from gate.candidates.registry import Candidate
from gate.records import Case, Correctness, Status
from gate.records.sdpa import PREFIX
from gate.sandbox.calls import CallFailure, call, call_each
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import CHECK, FIRST_CALL, CheckRequest
from gate.session import Session
from gate.settings.model import Settings

BY_SIZE = {
    Status.TIMED_OUT: "; if it is slow and does not hang, raise limits.check_s",
    Status.OUT_OF_MEMORY: "",
}
"""Failures that a request that is too large would also cause, with advice to the candidate's author."""
SMALLER = "choose a smaller shape, or raise the limit (`--set limits.check_s=...`, limits.memory_mb)"
CONTROL = PREFIX + "flash"


def check_candidate(
    server: WorkerServer,
    candidate: Candidate,
    source: str | None,
    cases: Mapping[Case, int],
    device: str,
    settings: Settings,
) -> list[Correctness]:
    """Checks the candidate against the oracle on every case, with inputs from its seed; in the order of `cases`."""
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


def compile_in_calls(server: WorkerServer, requests: Sequence[CheckRequest], limit_s: float) -> CallFailure | None:
    """Calls a Python candidate once on every case, within a build's time limit, so that it compiles into its caches.

    Returns a failure only if this took too long; the check itself finds any other failure and names its case.
    """
    called = call(server, FIRST_CALL, requests, limit_s) if requests else []
    if not isinstance(called, CallFailure) or called.status is not Status.TIMED_OUT:
        return None
    reason = "the first call on each workload, which may compile; raise limits.build_s if it needs more time"
    return replace(called, message=f"{called.message}: {reason}")


def check_backend(
    server: WorkerServer, backend: str, cases: Mapping[Case, int], device: str, settings: Settings
) -> list[Correctness]:
    """Checks one of SDPA's backends like a candidate: whether it computes correctly in this environment."""
    limit_s = settings.limits.check_s
    requests = [
        CheckRequest(
            device, each, PREFIX + backend, None, settings.tolerance[each.workload.dtype], seed, USED * limit_s
        )
        for each, seed in cases.items()
    ]
    return _checked(server, requests, limit_s)


def _checked(server: WorkerServer, requests: Sequence[CheckRequest], limit_s: float) -> list[Correctness]:
    answers = call_each(server, CHECK, requests, limit_s)
    return [_correctness(server, *pair, limit_s) for pair in zip(answers, requests, strict=True)]


def _correctness(
    server: WorkerServer, answer: Correctness | CallFailure, request: CheckRequest, limit_s: float
) -> Correctness:
    """If SDPA fails on the same case as well, the machine or the request is at fault, not the candidate."""
    if isinstance(answer, Correctness):
        return answer
    if answer.status not in BY_SIZE:
        return Correctness(answer.status, answer.message)
    (control,) = call_each(server, CHECK, [replace(request, impl=CONTROL, candidate=None)], limit_s)
    if control.status in (*BY_SIZE, Status.ENVIRONMENT):
        return Correctness(Status.ENVIRONMENT, f"SDPA itself cannot be checked here: {control.message}; {SMALLER}")
    return Correctness(answer.status, f"{answer.message}{BY_SIZE[answer.status]}")


CHECKS_A_PROCESS = 9


def check_cases(session: Session, candidate: Candidate, source: str, cases: Mapping[Case, int]) -> list[Correctness]:
    """Checks the candidate on every case, with inputs from its seed, and reports progress.

    Groups of CHECKS_A_PROCESS cases share a process: enough to outweigh its start, few enough to show progress.
    """
    seen: list[Correctness] = []
    asked = list(cases.items())
    with session.stage("check"):
        for first in range(0, len(asked), CHECKS_A_PROCESS):
            session.progress(f"check {candidate.name}", first, len(asked))
            group = dict(asked[first : first + CHECKS_A_PROCESS])
            seen += check_candidate(session.server, candidate, source, group, session.device, session.settings)
    return seen
