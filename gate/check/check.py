"""Is a candidate's answer right? Every observation is one named check, so that a rejection says what was seen.

Acceptances are written `error <= limit`: NaN passes none of them.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from gate.analysis.effort import Effort
from gate.check import oracle
from gate.check.accuracy import allowed_error, compare_outputs, largest_error, sdpa_answer
from gate.check.oracle import Expected
from gate.records import NORMAL, Case, Check, Correctness, Distribution, Fault, Status
from gate.runtime.device import Device
from gate.runtime.execution import Execution
from gate.runtime.implementations import Implementation
from gate.settings.model import Tolerance

STRESS_DISTRIBUTION: Distribution = "large_logits"
"""What normal inputs do not show: whether a maximum is subtracted before exp."""


MIN_S = 1e-9
"""Of a call: a candidate that patches the clock is found by the gates on speed."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One run, looked at. `answer` is a copy of the output; None where it is no longer the tensor that was given."""

    distribution: Distribution
    checks: list[Check]
    expected: Expected
    sdpa_error: float
    answer: torch.Tensor | None = None
    error: float = math.inf
    fault: Fault | None = None
    call_s: float = 0.0
    """The shortest call."""
    calls_s: float = 0.0
    """All calls."""

    def along_with(self, check: Check) -> _Seen:
        return replace(self, checks=[*self.checks, check])


def check(
    device: Device,
    implementation: Implementation,
    case: Case,
    tolerance: Tolerance,
    seed: int,
    budget_s: float | None = None,
) -> Correctness:
    """Runs the candidate in the same buffers: twice on one input, on another, and on a harder one where due.

    Ends early where that would take longer than `budget_s`, by what the first two calls took.
    """
    started, rng = time.perf_counter(), random.Random(seed)
    execution = Execution(device, implementation, case.workload, rng, layout=case.layout)
    runs = 3 if case.distribution == NORMAL else 2
    seen: list[_Seen] = []
    for each in _runs(execution, tolerance, case.distribution, rng):
        seen.append(each)
        effort = Effort.of([(one.call_s, one.calls_s) for one in seen], time.perf_counter() - started, runs)
        if budget_s is not None and effort.whole_s > budget_s and len(seen) < runs and all(map(_passed, seen)):
            return _unfinished(execution, effort)
    return _concluded(seen, case.distribution)


def _passed(seen: _Seen) -> bool:
    return all(check.passed for check in seen.checks)


def _unfinished(execution: Execution, effort: Effort) -> Correctness:
    """A check that was given up: laid to the candidate only where its own calls take the time, and SDPA's do not."""
    started = time.perf_counter()
    sdpa_answer(execution.pristine_inputs(), execution.scale, execution.causal)
    execution.synchronize()
    return Correctness(*effort.verdict(time.perf_counter() - started), call_ms=1e3 * effort.call_s)


def _runs(
    execution: Execution, tolerance: Tolerance, distribution: Distribution, rng: random.Random
) -> Iterator[_Seen]:
    """Ends where a tensor was replaced: another call would meet tensors of the candidate's own making."""
    seed = rng.getrandbits(62)
    first = _examine(execution, tolerance, seed, distribution)
    if execution.replaced():
        yield first
        return
    yield _repeated(execution, first, seed)
    other = _examine(execution, tolerance, rng.getrandbits(62), distribution, "on other inputs")
    yield other.along_with(_responds(first, other))
    if distribution == NORMAL and not execution.replaced():
        yield _examine(execution, tolerance, rng.getrandbits(62), STRESS_DISTRIBUTION, "on large logits")


def _concluded(seen: list[_Seen], distribution: Distribution) -> Correctness:
    checks = tuple(check for each in seen for check in each.checks)
    failed = [each for each in checks if not each.passed]
    asked = [each for each in seen if each.distribution == distribution]
    error = max(each.error for each in asked)
    return Correctness(
        status=Status.INCORRECT if failed else Status.OK,
        message=f"{failed[0].name}: {failed[0].evidence}" if failed else "",
        checks=checks,
        max_abs_err=error if error < math.inf else None,
        sdpa_max_abs_err=max(each.sdpa_error for each in asked),
        fault=next((each.fault for each in seen if each.fault), None),
        call_ms=1e3 * min(each.call_s for each in seen),
    )


def _examine(
    execution: Execution, tolerance: Tolerance, seed: int, distribution: Distribution, inputs: str = ""
) -> _Seen:
    """All checks of one run, and the errors of candidate and of SDPA against the oracle.

    A tensor that is no longer the one that was given has perhaps another shape: its numbers are not looked at.
    """
    execution.refresh(seed, distribution)
    out, call_s = _run(execution)
    pristine = execution.pristine_inputs()
    q, k, v = pristine
    expected = oracle.solve(q, k, v, execution.scale, execution.causal)
    sdpa_error = allowed_error(pristine, execution.scale, execution.causal, expected)
    checks = _side_effect_checks(execution, pristine)
    seen = _Seen(distribution, checks, expected, sdpa_error, call_s=call_s, calls_s=call_s)
    if not execution.replaced():
        found = compare_outputs(out, expected, sdpa_error, tolerance, inputs)
        checks = [*seen.checks, *found.checks]
        seen = replace(seen, checks=checks, answer=out.clone(), error=found.error, fault=found.fault)
    return replace(seen, checks=[replace(each, name=f"{each.name} {inputs}".strip()) for each in seen.checks])


def _run(execution: Execution) -> tuple[torch.Tensor, float]:
    """Its output, and the seconds of the call."""
    started = time.perf_counter()
    return execution.run(), max(MIN_S, time.perf_counter() - started)


def _side_effect_checks(execution: Execution, pristine: list[torch.Tensor]) -> list[Check]:
    """What the run did besides computing."""
    changed, overrun, replaced = execution.changed_inputs(pristine), execution.overrun(), execution.replaced()
    return [
        Check("inputs unchanged", not changed, f"wrote to {', '.join(changed)}" if changed else "q, k, v as given"),
        Check("within bounds", not overrun, f"wrote beside {', '.join(overrun)}" if overrun else "guards intact"),
        Check("own storage", not replaced, f"replaced {', '.join(replaced)}" if replaced else "tensors as given"),
    ]


def _repeated(execution: Execution, before: _Seen, seed: int) -> _Seen:
    """The same run, with a second call on the same inputs beside it."""
    execution.refresh(seed, before.distribution)
    out, call_s = _run(execution)
    same = before.answer is not None and torch.equal(out, before.answer)
    evidence = "the same bits twice" if same else "another answer on the same inputs"
    seen = before.along_with(Check("repeatable", same, evidence))
    return replace(seen, call_s=min(call_s, before.call_s), calls_s=call_s + before.calls_s)


def _responds(first: _Seen, other: _Seen) -> Check:
    """Another answer on other inputs, where the right answers are further apart than both may err."""
    apart = largest_error(first.expected.out, other.expected.out)
    alike = apart <= 2 * (first.sdpa_error + other.sdpa_error)
    same = first.answer is not None and other.answer is not None and torch.equal(first.answer, other.answer)
    evidence = f"the same answer, where the right ones differ by {apart:.2e}" if same else "another answer"
    return Check("responds to its inputs", alike or not same, evidence)
