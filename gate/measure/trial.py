"""Takes trials: fresh processes time the arms, replicate by replicate, and every failure has a status and a cause."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from gate.analysis.effort import LONGER, USED, share, too_slow
from gate.records import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Arm,
    GpuState,
    Replicate,
    Status,
    Telemetry,
    Trial,
    Workload,
)
from gate.records.sdpa import PREFIX
from gate.sandbox.calls import FAULTS, CallFailure, call_each
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import REPLICATE, Pace, ReplicateAnswer, ReplicateRequest
from gate.settings.model import Settings

TIMING = {
    "cpu": "monotonic clock, direct call",
    "cuda": "events around a graph replay queued behind a spin",
}
FEW_ROUNDS, FEW_PART = 5, 0.2
"""A replicate of a slow workload is cut to so many rounds, or to as many as fit this part of its time limit."""
WARMUP_PART = 5
"""Of the rounds that fit a limit, one in so many is for the warm-up, and at least one."""


def sdpa_arms(backends: Iterable[str]) -> dict[str, str]:
    """One arm for each SDPA backend, and the empty launch."""
    return {**{name: PREFIX + name for name in backends}, EMPTY: EMPTY}


def candidate_arms(impl: str, backend: str) -> dict[str, str]:
    """The arms of a trial with a candidate (docs/measurement.md)."""
    return {BASELINE: PREFIX + backend, BASELINE_AGAIN: PREFIX + backend, CANDIDATE: impl, EMPTY: EMPTY}


@dataclass(frozen=True, slots=True)
class DisturbanceMonitor:
    """How to read the GPU's state beside every replicate, and how often to take a disturbed replicate again."""

    read_telemetry: Callable[[], GpuState | None] = lambda: None
    max_retries: int = 0


@dataclass(slots=True)
class _Series:
    """The growing trial of one workload. It ends at the first replicate that fails, and keeps those before it."""

    plan: ReplicateRequest
    interim_replicates: tuple[int, ...]
    is_clear: Callable[[Trial, Workload], bool]
    replicates: list[Replicate] = field(default_factory=list)
    ended: bool = False
    status: Status = Status.OK
    message: str = ""
    seconds: float | None = None
    """How long one replicate takes; None until that is known."""
    planned_rounds: int | None = None

    @property
    def trial(self) -> Trial:
        arms = tuple(Arm(name, implementation) for name, implementation in self.plan.arms.items())
        return Trial(
            self.status,
            arms,
            TIMING[self.plan.device],
            self.plan.warmup_rounds,
            self.message,
            tuple(self.replicates),
            self.interim_replicates,
            self.planned_rounds,
        )

    def add(self, replicate: Replicate) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.replicates.append(replace(replicate, taken_at=now))
        self.seconds = replicate.seconds
        count = len(self.replicates)
        if count in self.interim_replicates:
            self.ended = count == self.interim_replicates[-1] or self.is_clear(self.trial, self.plan.workload)

    def keep_pace(self, pace: Pace, limit_s: float) -> None:
        """Plans all rounds if they fit the limit at this pace, else a few: the evidence is replicates, not rounds."""
        plan, fitting = self.plan, pace.rounds_in(USED * limit_s)
        if fitting < plan.all_rounds:
            fitting = min(fitting, max(FEW_ROUNDS, pace.rounds_in(FEW_PART * limit_s)))
            warmup = min(plan.warmup_rounds, max(1, fitting // WARMUP_PART))
            self.plan = replace(plan, rounds=min(plan.rounds, fitting - warmup), warmup_rounds=warmup)
        if self.plan.rounds < plan.rounds:
            self.planned_rounds = plan.rounds
        self.seconds = pace.seconds(self.plan.all_rounds)

    def fail(self, status: Status, message: str) -> None:
        self.ended, self.status, self.message = True, status, message


def take_trials(
    server: WorkerServer,
    plans: Sequence[ReplicateRequest],
    interim_replicates: tuple[int, ...],
    limit_s: float,
    is_clear: Callable[[Trial, Workload], bool],
    progress: Callable[[int], None],
    monitor: DisturbanceMonitor | None = None,
) -> list[Trial]:
    """One trial for each plan. A trial ends at the first of `interim_replicates` at which its answer is clear.

    One process takes a replicate of every trial that is still open, in random order, so that its start is paid for
    once. Of slow trials it takes as many as fit its time limit.
    """
    trials = [_Series(plan, interim_replicates, is_clear) for plan in plans]
    while open_trials := [series for series in trials if not series.ended]:
        progress(min(len(series.replicates) for series in open_trials))
        random.shuffle(open_trials)
        attempts = _attempt_undisturbed(server, open_trials, limit_s, monitor or DisturbanceMonitor())
        for series, attempt in zip(open_trials, attempts, strict=True):
            _apply(server, series, attempt, limit_s)
    return [series.trial for series in trials]


def _apply(server: WorkerServer, series: _Series, attempt: ReplicateAnswer, limit_s: float) -> None:
    """Extends the trial by the attempt's replicate, changes its plan, or ends it."""
    plan = series.plan
    if attempt.uncapturable in set(plan.arms) - set(plan.uncaptured):
        series.plan = replace(plan, uncaptured=(*plan.uncaptured, str(attempt.uncapturable)))
    elif attempt.pace is not None:
        series.keep_pace(attempt.pace, limit_s)
    elif attempt.replicate is None:
        series.fail(*_cause(server, plan, attempt, limit_s))
    else:
        series.add(attempt.replicate)


def _attempt_undisturbed(
    server: WorkerServer, trials: Sequence[_Series], limit_s: float, monitor: DisturbanceMonitor
) -> list[ReplicateAnswer]:
    """The first attempts in which nothing disturbed the GPU, else the last ones, with the telemetry beside them."""
    attempts: list[ReplicateAnswer] = []
    for _ in range(1 + monitor.max_retries):
        before = monitor.read_telemetry()
        attempts = _attempt_all(server, trials, limit_s)
        after = monitor.read_telemetry()
        if before is None or after is None:
            break
        telemetry = Telemetry(before, after)
        attempts = [_with_telemetry(attempt, telemetry) for attempt in attempts]
        if not telemetry.disturbances or any(attempt.replicate is None for attempt in attempts):
            break
    return attempts


def _with_telemetry(attempt: ReplicateAnswer, telemetry: Telemetry) -> ReplicateAnswer:
    if attempt.replicate is None:
        return attempt
    return replace(attempt, replicate=replace(attempt.replicate, telemetry=telemetry))


def _attempt_all(server: WorkerServer, trials: Sequence[_Series], limit_s: float) -> list[ReplicateAnswer]:
    """One attempt at each trial's next replicate, in as few processes as the time limit allows.

    Replicates of unknown pace have equal shares of the limit.
    """
    attempts: dict[int, ReplicateAnswer] = {}
    for group in share([series.seconds for series in trials], limit_s):
        plans = [trials[index].plan for index in group]
        if any(trials[index].seconds is None for index in group):
            plans = [replace(plan, budget_s=USED * limit_s / len(plans)) for plan in plans]
        attempts |= zip(group, _attempt(server, plans, limit_s), strict=True)
    return [attempts[index] for index in range(len(trials))]


def _attempt(server: WorkerServer, plans: Sequence[ReplicateRequest], limit_s: float) -> list[ReplicateAnswer]:
    """One attempt at each plan, with a new seed."""
    requests = [replace(plan, seed=secrets.randbits(62)) for plan in plans]
    answers = call_each(server, REPLICATE, requests, limit_s)
    return [_validate(answer, request) for answer, request in zip(answers, requests, strict=True)]


def _validate(answer: ReplicateAnswer | CallFailure, request: ReplicateRequest) -> ReplicateAnswer:
    """The answer if it belongs to the request; the candidate's process wrote it, and may have made it up."""
    if isinstance(answer, CallFailure):
        return ReplicateAnswer(answer.status, answer.message)
    needless_pace = answer.pace is not None and request.budget_s is None
    if needless_pace or (answer.replicate is not None and not _follows(answer.replicate, request)):
        return ReplicateAnswer(Status.CRASHED, "the candidate's process answered with the times of another plan")
    return answer


def _follows(replicate: Replicate, plan: ReplicateRequest) -> bool:
    planned = plan.seed, sorted(plan.arms), plan.rounds, plan.uncaptured
    return planned == (
        replicate.seed, sorted(replicate.creation_order), len(replicate.times_ms), replicate.uncaptured,
    )  # fmt: skip


def _cause(
    server: WorkerServer, plan: ReplicateRequest, attempt: ReplicateAnswer, limit_s: float
) -> tuple[Status, str]:
    """The status and message of a failed attempt: the machine's failure if the baseline alone fails now as well."""
    if attempt.status not in FAULTS:
        return attempt.status, attempt.message
    arms = {arm: name for arm, name in plan.arms.items() if arm != CANDIDATE}
    (control,) = _attempt(server, [replace(plan, arms=arms, rounds=1, warmup_rounds=1, candidate=None)], limit_s)
    if control.replicate is None:
        longer = f"; {LONGER}" if control.status is Status.TIMED_OUT else ""
        return Status.ENVIRONMENT, f"the baseline alone fails too: {control.message}{longer}"
    if attempt.status is Status.TIMED_OUT and plan.call_ms is not None and CANDIDATE in plan.arms:
        baseline_ms = min(times[list(arms).index(BASELINE)] for times in control.replicate.times_ms)
        return too_slow(plan.call_ms, baseline_ms, limit_s) or (attempt.status, f"{attempt.message}; {LONGER}")
    return attempt.status, attempt.message


def replicate_request(
    workload: Workload,
    arms: Mapping[str, str],
    settings: Settings,
    device: str,
    *,
    source: str | None = None,
    sdpa_max_abs_err: float | None = None,
    call_ms: float | None = None,
) -> ReplicateRequest:
    """The plan of a trial's replicates; each gets its own seed when it is taken."""
    return ReplicateRequest(
        device=device,
        workload=workload,
        arms=arms,
        candidate=source,
        seed=0,
        rounds=settings.measure.rounds,
        warmup_rounds=settings.measure.warmup_rounds,
        tolerance=settings.tolerance[workload.dtype],
        sdpa_max_abs_err=sdpa_max_abs_err,
        call_ms=call_ms,
    )
