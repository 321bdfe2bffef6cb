"""One replicate, in a process of its own: it creates the arms in random order, then times them in shuffled rounds.

What is timed is what is checked: after each timing the output is compared with SDPA's on the same inputs. These are
generated again from their seed for that, so that the expected output exists nowhere while the candidate runs.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Mapping

import torch

from gate.check.accuracy import sdpa_answer, timed_limit
from gate.records import EMPTY, ClockPair, Replicate, Status
from gate.records.sdpa import PREFIX
from gate.runtime.device import CaptureError, Device
from gate.runtime.execution import INPUTS, Execution
from gate.runtime.implementations import open_implementation
from gate.sandbox.protocol import Pace, ReplicateAnswer, ReplicateRequest

BATCH_MS, MAX_LAUNCHES = 5.0, 500
"""How long a batch for the host's clock lasts, and its most launches."""
MIN_PACED_ROUNDS = 2
"""The first round includes all that a candidate does once; from the second on, a round shows its own time."""


def run_replicate(plan: ReplicateRequest, device: Device) -> ReplicateAnswer:
    """Times all rounds of one replicate, and drops those of the warm-up.

    It ends early at the first wrong output, or if the rounds would take longer than `plan.budget_s`.
    """
    started = time.perf_counter()
    device.reset_peak()
    rng = random.Random(plan.seed)
    order = rng.sample(list(plan.arms), len(plan.arms))
    executions: dict[str, Execution] = {}
    for arm in order:
        try:
            executions[arm] = _execution(plan, device, arm, rng)
        except CaptureError as error:
            return ReplicateAnswer(Status.UNSUPPORTED, f"{arm} cannot be captured: {error}", uncapturable=arm)
    taken = _rounds(plan, executions, rng, started)
    if isinstance(taken, ReplicateAnswer):
        return taken
    replicate = Replicate(
        seed=plan.seed,
        times_ms=tuple(taken[plan.warmup_rounds :]),
        creation_order=tuple(order),
        seconds=time.perf_counter() - started,
        peak_bytes=device.peak_bytes(),
        clocks=_clock_pairs(plan, executions, taken),
        uncaptured=plan.uncaptured,
    )
    return ReplicateAnswer(Status.OK, replicate=replicate)


def _rounds(
    plan: ReplicateRequest, executions: Mapping[str, Execution], rng: random.Random, started: float
) -> list[tuple[float, ...]] | ReplicateAnswer:
    """The times of every round, the warm-up's included, in the plan's order of arms; or the failure."""
    taken: list[tuple[float, ...]] = []
    ends: list[float] = []
    for number in range(plan.all_rounds):
        times, wrong = _round(plan, executions, rng)
        if wrong:
            return ReplicateAnswer(_status_of_fault(wrong[0]), f"round {number}: {wrong[1]}")
        taken.append(tuple(times[arm] for arm in plan.arms))
        ends.append(time.perf_counter() - started)
        if too_long := _too_long(plan, ends):
            return too_long
    if overrun := _overrun(plan, executions):
        return ReplicateAnswer(_status_of_fault(overrun[0]), f"after {len(taken)} rounds: {overrun[1]}")
    return taken


def _too_long(plan: ReplicateRequest, ends: list[float]) -> ReplicateAnswer | None:
    """The failure if all rounds would take longer than the plan's budget; `ends` of the rounds so far are in s."""
    if plan.budget_s is None or len(ends) < MIN_PACED_ROUNDS:
        return None
    pace = Pace(ends[0], (ends[-1] - ends[0]) / (len(ends) - 1))
    if pace.seconds(plan.all_rounds) <= plan.budget_s:
        return None
    message = f"{plan.all_rounds} rounds would take {pace.seconds(plan.all_rounds):.0f} s"
    return ReplicateAnswer(Status.TOO_SLOW, message, pace=pace)


def _clock_pairs(
    plan: ReplicateRequest, executions: Mapping[str, Execution], times_ms: list[tuple[float, ...]]
) -> dict[str, ClockPair]:
    """Times a batch of each arm by two clocks. The host's includes the first launch and the last wait."""
    pairs: dict[str, ClockPair] = {}
    for index, arm in enumerate(plan.arms):
        typical = statistics.median(times[index] for times in times_ms)
        launches = max(1, min(MAX_LAUNCHES, round(BATCH_MS / typical)))
        read = executions[arm].time_batch(launches) if arm != EMPTY else None
        if read is not None:
            pairs[arm] = ClockPair(*read, launches)
    return pairs


def _execution(plan: ReplicateRequest, device: Device, arm: str, rng: random.Random) -> Execution:
    implementation = open_implementation(plan.arms[arm], None if arm == EMPTY else plan.candidate)
    return Execution(device, implementation, plan.workload, rng, capture=arm not in plan.uncaptured)


def _round(
    plan: ReplicateRequest, executions: Mapping[str, Execution], rng: random.Random
) -> tuple[dict[str, float], tuple[str, str] | None]:
    """Times every arm once, in random order; also returns the first (implementation, fault), if there is one."""
    times: dict[str, float] = {}
    for arm in rng.sample(sorted(executions), len(executions)):
        execution = executions[arm]
        execution.refresh(rng.getrandbits(62))
        times[arm] = execution.time_ms()
        fault = None if arm == EMPTY else _fault(plan, execution)
        if fault:
            return times, (plan.arms[arm], fault)
    return times, None


def _fault(plan: ReplicateRequest, execution: Execution) -> str | None:
    """What the timed execution did wrong, or None."""
    if replaced := execution.replaced():
        return f"replaced {', '.join(replaced)}"
    pristine = execution.pristine_inputs()
    expected = sdpa_answer(pristine, execution.scale, execution.causal)
    error = (execution.output.double() - expected.double()).abs().max()
    *differ, off, magnitude = _read(*execution.differences(pristine), error, expected.abs().max())
    if changed := [name for name, differs in zip(INPUTS, differ, strict=True) if differs]:
        return f"wrote to {', '.join(changed)}"
    limit = _limit(plan, magnitude, expected.dtype)
    return None if off <= limit else f"the timed output is off by {off:.2e}, more than {limit:.2e}"


def _read(*values: torch.Tensor) -> list[float]:
    """Numbers from the device, in one synchronization: one for each number took half of a round's time."""
    return [float(number) for number in torch.stack([value.double() for value in values]).tolist()]


def _overrun(plan: ReplicateRequest, executions: Mapping[str, Execution]) -> tuple[str, str] | None:
    """The first (implementation, fault) about a write out of bounds, which stays in the guards until the end."""
    for arm, execution in executions.items():
        if arm != EMPTY and (overrun := execution.overrun()):
            return plan.arms[arm], f"wrote out of bounds of {', '.join(overrun)}"
    return None


def _limit(plan: ReplicateRequest, magnitude: float, dtype: torch.dtype) -> float:
    if plan.sdpa_max_abs_err is None:
        return plan.tolerance.atol + plan.tolerance.rtol * magnitude
    return timed_limit(plan.sdpa_max_abs_err, magnitude, dtype)


def _status_of_fault(implementation: str) -> Status:
    """A wrong baseline is a fault of the machine, or of what disturbed it; a wrong candidate is its own."""
    return Status.ENVIRONMENT if implementation.startswith(PREFIX) else Status.INCORRECT
