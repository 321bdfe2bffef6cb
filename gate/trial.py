"""Takes the evidence: asks fresh processes to check a candidate and to time it, and names what went wrong."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from gate.errors import GateError, UnfitEnvironmentError
from gate.files import from_json, to_json
from gate.messages import Attempt, CheckRequest, EnvironmentRequest, Plan, TraceRequest, Traces
from gate.records import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Arm,
    Correctness,
    Environment,
    GpuState,
    Record,
    Replicate,
    Status,
    Telemetry,
    Trace,
    Trial,
    Workload,
)
from gate.registry import Candidate
from gate.sdpa import PREFIX
from gate.settings import Settings
from gate.workers import Ending, WorkerServer

TIMING = {
    "cpu": "monotonic clock, direct call",
    "cuda": "events around a graph replay queued behind a spin",
}
Progress = Callable[[str, int, int], None]
"""Told what is being done, how many steps are done, and of how many."""

TRACE_S = 120.0
CANDIDATES_FAULTS = (Status.CRASHED, Status.TIMED_OUT, Status.OUT_OF_MEMORY)
"""Ways to fail that a broken machine would look like too."""

R = TypeVar("R", bound=Record)


def describe_environment(server: WorkerServer, device: str) -> Environment:
    """The environment as a worker sees it. Raises UnfitEnvironmentError where it cannot be had."""
    request = to_json(EnvironmentRequest(device))
    ending = server.call({"kind": "environment", "request": request}, 60)
    if ending.status is not Status.OK:
        reason = ending.last_words or ending.message
        raise UnfitEnvironmentError(f"device '{device}' cannot be used: {reason}; see `kernel-gate doctor`")
    return from_json(Environment, ending.reply, "the worker's answer")


def check_candidate(
    server: WorkerServer,
    candidate: Candidate,
    source: str | None,
    workload: Workload,
    device: str,
    settings: Settings,
) -> Correctness:
    """The candidate held against the oracle on one workload, in a fresh process."""
    refusal = candidate.supports.refusal(workload)
    if refusal:
        return Correctness(Status.UNSUPPORTED, refusal)
    tolerance = settings.tolerance[workload.dtype]
    request = CheckRequest(device, workload, candidate.name, source, tolerance, secrets.randbits(62))
    ending = server.call({"kind": "check", "request": to_json(request)}, settings.limits.check_s)
    answer = _answer(Correctness, ending)
    return answer if isinstance(answer, Correctness) else Correctness(*answer)


def trace_implementations(
    server: WorkerServer, device: str, workload: Workload, names: tuple[str, ...], source: str | None = None
) -> tuple[Trace, ...]:
    """The kernels of each implementation; one that cannot be traced has a trace that says why."""
    request = TraceRequest(device, workload, names, source)
    answer = _answer(Traces, server.call({"kind": "trace", "request": to_json(request)}, TRACE_S))
    if isinstance(answer, Traces):
        return answer.traces
    return tuple(Trace(name, refusal=answer[1]) for name in names)


def sdpa_arms(backends: Iterable[str]) -> dict[str, str]:
    """Each SDPA backend as an arm of its own, and the empty launch."""
    return {**{name: PREFIX + name for name in backends}, EMPTY: EMPTY}


def candidate_arms(impl: str, backend: str) -> dict[str, str]:
    """The arms of DESIGN.md section 3."""
    return {BASELINE: PREFIX + backend, BASELINE_AGAIN: PREFIX + backend, CANDIDATE: impl, EMPTY: EMPTY}


@dataclass(frozen=True, slots=True)
class Watch:
    """How to look at the device beside every replicate, and how often to take a disturbed one anew."""

    look: Callable[[], GpuState | None] = lambda: None
    repeats: int = 0


def take_trial(
    server: WorkerServer,
    plan: Plan,
    looks: tuple[int, ...],
    limit_s: float,
    is_clear: Callable[[Trial], bool],
    progress: Callable[[int], None],
    watch: Watch | None = None,
) -> Trial:
    """Replicates of `plan`, each with a seed of its own, up to the first of `looks` at which the answer is clear.

    Ends at the first replicate that fails, and keeps those before it.
    """
    taken: list[Replicate] = []
    trial = _trial(plan, taken, looks, Status.UNSUPPORTED, "no replicate was taken")
    for look in looks:
        while len(taken) < look:
            progress(len(taken))
            attempt = _undisturbed(server, plan, limit_s, watch or Watch())
            if attempt.uncapturable is not None and attempt.uncapturable not in plan.direct:
                plan = replace(plan, direct=(*plan.direct, attempt.uncapturable))
            elif attempt.replicate is None:
                return _trial(plan, taken, looks, *_blame(server, plan, attempt, limit_s))
            else:
                taken.append(attempt.replicate)
        trial = _trial(plan, taken, looks, Status.OK, "")
        if is_clear(trial):
            break
    return trial


def _undisturbed(server: WorkerServer, plan: Plan, limit_s: float, watch: Watch) -> Attempt:
    """An attempt in which nothing disturbed the GPU, if one of a few is such; else the last, with what was seen."""
    for _ in range(1 + watch.repeats):
        before = watch.look()
        attempt = _attempt(server, plan, limit_s)
        after = watch.look()
        if attempt.replicate is None or before is None or after is None:
            return attempt
        telemetry = Telemetry(before, after)
        attempt = replace(attempt, replicate=replace(attempt.replicate, telemetry=telemetry))
        if not telemetry.disturbances:
            break
    return attempt


def _attempt(server: WorkerServer, plan: Plan, limit_s: float) -> Attempt:
    request = replace(plan, seed=secrets.randbits(62))
    answer = _answer(Attempt, server.call({"kind": "replicate", "request": to_json(request)}, limit_s))
    if not isinstance(answer, Attempt):
        return Attempt(*answer)
    if answer.replicate is not None and not _follows(answer.replicate, request):
        return Attempt(Status.CRASHED, "the candidate's process answered with the times of another plan")
    return answer


def _follows(replicate: Replicate, plan: Plan) -> bool:
    """Whether seed, arms and rounds are those that were asked for: the answer comes from the candidate's process."""
    asked = plan.seed, sorted(plan.arms), plan.rounds
    return asked == (replicate.seed, sorted(replicate.creation_order), len(replicate.times_ms))


def _blame(server: WorkerServer, plan: Plan, attempt: Attempt, limit_s: float) -> tuple[Status, str]:
    """The candidate's failure, or the machine's where the baseline alone fails now as well."""
    if attempt.status not in CANDIDATES_FAULTS:
        return attempt.status, attempt.message
    alone = {arm: name for arm, name in plan.arms.items() if arm != CANDIDATE}
    control = _attempt(server, replace(plan, arms=alone, rounds=1, warmup_rounds=1, candidate=None), limit_s)
    if control.replicate is None:
        return Status.ENVIRONMENT, f"the baseline alone fails too: {control.message}"
    return attempt.status, attempt.message


def plan_for(
    workload: Workload,
    arms: Mapping[str, str],
    settings: Settings,
    device: str,
    *,
    source: str | None = None,
    sdpa_max_abs_err: float | None = None,
) -> Plan:
    """The plan of a trial; every replicate gets a seed of its own later."""
    return Plan(
        device=device,
        workload=workload,
        arms=arms,
        candidate=source,
        seed=0,
        rounds=settings.measure.rounds,
        warmup_rounds=settings.measure.warmup_rounds,
        tolerance=settings.tolerance[workload.dtype],
        sdpa_max_abs_err=sdpa_max_abs_err,
    )


def _trial(plan: Plan, taken: list[Replicate], looks: tuple[int, ...], status: Status, message: str) -> Trial:
    arms = tuple(Arm(name, implementation) for name, implementation in plan.arms.items())
    return Trial(status, arms, TIMING[plan.device], plan.warmup_rounds, message, tuple(taken), looks)


def _answer(kind: type[R], ending: Ending) -> R | tuple[Status, str]:
    """The process's answer, or the status and the message of one that gave none that can be read."""
    if ending.status is not Status.OK:
        words = f": {ending.last_words}" if ending.last_words else ""
        return ending.status, f"the candidate's process {ending.message}{words}"
    try:
        return from_json(kind, ending.reply, "the answer of the candidate's process")
    except GateError as error:
        return Status.CRASHED, str(error)
