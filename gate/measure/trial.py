"""Takes the evidence: fresh processes time the arms, replicate by replicate, and what went wrong is named."""

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
"""What a replicate of a slow workload is cut to: so many rounds, or as many as fit this part of its limit."""
WARMUP_PART = 5
"""One round of so many that fit a limit warms up, at least."""


def sdpa_arms(backends: Iterable[str]) -> dict[str, str]:
    """Each SDPA backend as an arm of its own, and the empty launch."""
    return {**{name: PREFIX + name for name in backends}, EMPTY: EMPTY}


def candidate_arms(impl: str, backend: str) -> dict[str, str]:
    """The arms of a trial with a candidate (docs/measurement.md)."""
    return {BASELINE: PREFIX + backend, BASELINE_AGAIN: PREFIX + backend, CANDIDATE: impl, EMPTY: EMPTY}


@dataclass(frozen=True, slots=True)
class DisturbanceMonitor:
    """How to look at the device beside every replicate, and how often to take a disturbed one anew."""

    read_telemetry: Callable[[], GpuState | None] = lambda: None
    max_retries: int = 0


@dataclass(slots=True)
class _Series:
    """One workload's trial as it grows. It ends at the first replicate that fails, and keeps those before it."""

    plan: ReplicateRequest
    interim_replicates: tuple[int, ...]
    is_clear: Callable[[Trial, Workload], bool]
    taken: list[Replicate] = field(default_factory=list)
    over: bool = False
    status: Status = Status.OK
    message: str = ""
    seconds: float | None = None
    """What a replicate takes; None until that is known."""
    planned_rounds: int | None = None

    @property
    def trial(self) -> Trial:
        arms = tuple(Arm(name, implementation) for name, implementation in self.plan.arms.items())
        timing, warmup = TIMING[self.plan.device], self.plan.warmup_rounds
        replicates = tuple(self.taken)
        return Trial(
            self.status, arms, timing, warmup, self.message, replicates, self.interim_replicates, self.planned_rounds
        )

    def add(self, replicate: Replicate) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.taken.append(replace(replicate, taken_at=now))
        self.seconds = replicate.seconds
        if len(self.taken) in self.interim_replicates:
            self.over = len(self.taken) == self.interim_replicates[-1] or self.is_clear(
                self.trial, self.plan.workload
            )

    def keep_pace(self, pace: Pace, limit_s: float) -> None:
        """All rounds, if they fit the limit at this pace; else a few: replicates are the evidence, not rounds."""
        plan, fitting = self.plan, pace.rounds_in(USED * limit_s)
        if fitting < plan.all_rounds:
            fitting = min(fitting, max(FEW_ROUNDS, pace.rounds_in(FEW_PART * limit_s)))
            warmup = min(plan.warmup_rounds, max(1, fitting // WARMUP_PART))
            self.plan = replace(plan, rounds=min(plan.rounds, fitting - warmup), warmup_rounds=warmup)
        if self.plan.rounds < plan.rounds:
            self.planned_rounds = plan.rounds
        self.seconds = pace.seconds(self.plan.all_rounds)

    def fail(self, status: Status, message: str) -> None:
        self.over, self.status, self.message = True, status, message


def take_trials(
    server: WorkerServer,
    plans: Sequence[ReplicateRequest],
    interim_replicates: tuple[int, ...],
    limit_s: float,
    is_clear: Callable[[Trial, Workload], bool],
    progress: Callable[[int], None],
    watch: DisturbanceMonitor | None = None,
) -> list[Trial]:
    """A trial for each plan, each up to the first of `interim_replicates` at which its answer is clear.

    A process takes one replicate of every trial that is still open, in random order, so that its start is paid once;
    of slow ones, as many as fit its limit.
    """
    every = [_Series(plan, interim_replicates, is_clear) for plan in plans]
    while series := [each for each in every if not each.over]:
        progress(min(len(each.taken) for each in series))
        random.shuffle(series)
        attempts = _undisturbed(server, series, limit_s, watch or DisturbanceMonitor())
        for each, attempt in zip(series, attempts, strict=True):
            _settle(server, each, attempt, limit_s)
    return [each.trial for each in every]


def _settle(server: WorkerServer, series: _Series, attempt: ReplicateAnswer, limit_s: float) -> None:
    """What an attempt means for its trial: one replicate more, another way to launch, or the end."""
    plan = series.plan
    if attempt.uncapturable in set(plan.arms) - set(plan.uncaptured):
        series.plan = replace(plan, uncaptured=(*plan.uncaptured, str(attempt.uncapturable)))
    elif attempt.pace is not None:
        series.keep_pace(attempt.pace, limit_s)
    elif attempt.replicate is None:
        series.fail(*_blame(server, plan, attempt, limit_s))
    else:
        series.add(attempt.replicate)


def _undisturbed(
    server: WorkerServer, series: Sequence[_Series], limit_s: float, watch: DisturbanceMonitor
) -> list[ReplicateAnswer]:
    """Attempts in which nothing disturbed the GPU, if one of a few is such; else the last, with what was seen."""
    attempts: list[ReplicateAnswer] = []
    for _ in range(1 + watch.max_retries):
        before = watch.read_telemetry()
        attempts = _shared(server, series, limit_s)
        after = watch.read_telemetry()
        if before is None or after is None:
            break
        telemetry = Telemetry(before, after)
        attempts = [_beside(each, telemetry) for each in attempts]
        if not telemetry.disturbances or any(each.replicate is None for each in attempts):
            break
    return attempts


def _beside(attempt: ReplicateAnswer, telemetry: Telemetry) -> ReplicateAnswer:
    if attempt.replicate is None:
        return attempt
    return replace(attempt, replicate=replace(attempt.replicate, telemetry=telemetry))


def _shared(server: WorkerServer, series: Sequence[_Series], limit_s: float) -> list[ReplicateAnswer]:
    """One attempt at each plan, in as few processes as the limit allows; a plan of unknown pace has a share of it."""
    attempts: dict[int, ReplicateAnswer] = {}
    for group in share([each.seconds for each in series], limit_s):
        plans = [series[index].plan for index in group]
        if any(series[index].seconds is None for index in group):
            plans = [replace(plan, budget_s=USED * limit_s / len(plans)) for plan in plans]
        attempts |= zip(group, _attempts(server, plans, limit_s), strict=True)
    return [attempts[index] for index in range(len(series))]


def _attempts(server: WorkerServer, plans: Sequence[ReplicateRequest], limit_s: float) -> list[ReplicateAnswer]:
    """One attempt at each plan, with a seed of its own."""
    requests = [replace(plan, seed=secrets.randbits(62)) for plan in plans]
    answers = call_each(server, REPLICATE, requests, limit_s)
    return [_held_to(answer, request) for answer, request in zip(answers, requests, strict=True)]


def _held_to(answer: ReplicateAnswer | CallFailure, plan: ReplicateRequest) -> ReplicateAnswer:
    if isinstance(answer, CallFailure):
        return ReplicateAnswer(answer.status, answer.message)
    unasked = answer.pace is not None and plan.budget_s is None
    if unasked or (answer.replicate is not None and not _follows(answer.replicate, plan)):
        return ReplicateAnswer(Status.CRASHED, "the candidate's process answered with the times of another plan")
    return answer


def _follows(replicate: Replicate, plan: ReplicateRequest) -> bool:
    """Whether it is of what was asked for: the answer comes from the candidate's process."""
    asked = plan.seed, sorted(plan.arms), plan.rounds, plan.uncaptured
    return asked == (
        replicate.seed, sorted(replicate.creation_order), len(replicate.times_ms), replicate.uncaptured,
    )  # fmt: skip


def _blame(
    server: WorkerServer, plan: ReplicateRequest, attempt: ReplicateAnswer, limit_s: float
) -> tuple[Status, str]:
    """The candidate's failure, or the machine's where the baseline alone fails now as well."""
    if attempt.status not in FAULTS:
        return attempt.status, attempt.message
    alone = {arm: name for arm, name in plan.arms.items() if arm != CANDIDATE}
    control = replace(plan, arms=alone, rounds=1, warmup_rounds=1, candidate=None)
    (seen,) = _attempts(server, [control], limit_s)
    if seen.replicate is None:
        longer = f"; {LONGER}" if seen.status is Status.TIMED_OUT else ""
        return Status.ENVIRONMENT, f"the baseline alone fails too: {seen.message}{longer}"
    if attempt.status is Status.TIMED_OUT and plan.call_ms is not None and CANDIDATE in plan.arms:
        baseline_ms = min(times[list(alone).index(BASELINE)] for times in seen.replicate.times_ms)
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
    """The plan of a trial; every replicate gets a seed of its own later."""
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
