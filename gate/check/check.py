"""Checks whether a candidate's output is right. Every observation is a named check, so a rejection names its cause.

A check passes if `error <= limit`, never by the opposite test: NaN passes no check.
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
"""Finds a kernel that does not subtract the maximum before exp; normal inputs do not find it."""


MIN_S = 1e-9
"""Minimum time of a call. A candidate that patches the clock passes here; the gates on speed find it."""


@dataclass(frozen=True, slots=True)
class _CheckedRun:
    """One run and its checks. `answer` is a copy of the output; None if the candidate replaced the output tensor."""

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

    def with_check(self, check: Check) -> _CheckedRun:
        return replace(self, checks=[*self.checks, check])


def check(
    device: Device,
    implementation: Implementation,
    case: Case,
    tolerance: Tolerance,
    seed: int,
    budget_s: float | None = None,
) -> Correctness:
    """Runs the candidate in the same buffers: twice on the same inputs, on others, and (if normal) on large logits.

    Ends early if, by the time of the first two calls, the rest would exceed `budget_s` seconds.
    """
    started, rng = time.perf_counter(), random.Random(seed)
    execution = Execution(device, implementation, case.workload, rng, layout=case.layout)
    runs = 3 if case.distribution == NORMAL else 2
    seen: list[_CheckedRun] = []
    for each in _runs(execution, tolerance, case.distribution, rng):
        seen.append(each)
        effort = Effort.of([(run.call_s, run.calls_s) for run in seen], time.perf_counter() - started, runs)
        if budget_s is not None and effort.whole_s > budget_s and len(seen) < runs and all(map(_passed, seen)):
            return _unfinished(execution, effort)
    return _concluded(seen, case.distribution)


def _passed(seen: _CheckedRun) -> bool:
    return all(check.passed for check in seen.checks)


def _unfinished(execution: Execution, effort: Effort) -> Correctness:
    """A check that ran out of time: the candidate's fault only if its own calls are slow and SDPA's are not."""
    started = time.perf_counter()
    sdpa_answer(execution.pristine_inputs(), execution.scale, execution.causal)
    execution.synchronize()
    return Correctness(*effort.verdict(time.perf_counter() - started), call_ms=1e3 * effort.call_s)


def _runs(
    execution: Execution, tolerance: Tolerance, distribution: Distribution, rng: random.Random
) -> Iterator[_CheckedRun]:
    """Ends after a run that replaced a tensor: the next call would use tensors that the candidate made."""
    seed = rng.getrandbits(62)
    first = _examine(execution, tolerance, seed, distribution)
    if execution.replaced():
        yield first
        return
    yield _repeated(execution, first, seed)
    other = _examine(execution, tolerance, rng.getrandbits(62), distribution, "on other inputs")
    yield other.with_check(_responds(first, other))
    if distribution == NORMAL and not execution.replaced():
        yield _examine(execution, tolerance, rng.getrandbits(62), STRESS_DISTRIBUTION, "on large logits")


def _concluded(seen: list[_CheckedRun], distribution: Distribution) -> Correctness:
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
) -> _CheckedRun:
    """All checks of one run, and the errors of the candidate and of SDPA against the oracle.

    A tensor that the candidate replaced may have another shape: its values are not compared.
    """
    execution.refresh(seed, distribution)
    out, call_s = _run(execution)
    pristine = execution.pristine_inputs()
    q, k, v = pristine
    expected = oracle.solve(q, k, v, execution.scale, execution.causal)
    sdpa_error = allowed_error(pristine, execution.scale, execution.causal, expected)
    checks = _side_effect_checks(execution, pristine)
    seen = _CheckedRun(distribution, checks, expected, sdpa_error, call_s=call_s, calls_s=call_s)
    if not execution.replaced():
        found = compare_outputs(out, expected, sdpa_error, tolerance, inputs)
        checks = [*seen.checks, *found.checks]
        seen = replace(seen, checks=checks, answer=out.clone(), error=found.error, fault=found.fault)
    return replace(seen, checks=[replace(each, name=f"{each.name} {inputs}".strip()) for each in seen.checks])


def _run(execution: Execution) -> tuple[torch.Tensor, float]:
    """The output, and the seconds of the call."""
    started = time.perf_counter()
    return execution.run(), max(MIN_S, time.perf_counter() - started)


def _side_effect_checks(execution: Execution, pristine: list[torch.Tensor]) -> list[Check]:
    """Checks that the run wrote to nothing but its output."""
    changed, overrun, replaced = execution.changed_inputs(pristine), execution.overrun(), execution.replaced()
    return [
        Check("inputs unchanged", not changed, _named("wrote to", changed) or "q, k, v as given"),
        Check("within bounds", not overrun, _named("wrote out of bounds of", overrun) or "guards intact"),
        Check("own storage", not replaced, _named("replaced", replaced) or "tensors as given"),
    ]


def _named(verb: str, names: list[str]) -> str:
    return f"{verb} {', '.join(names)}" if names else ""


def _repeated(execution: Execution, before: _CheckedRun, seed: int) -> _CheckedRun:
    """The run `before`, with the check of a second call on the same inputs."""
    execution.refresh(seed, before.distribution)
    out, call_s = _run(execution)
    same = before.answer is not None and torch.equal(out, before.answer)
    evidence = "two calls gave the same bits" if same else "two calls on the same inputs gave different outputs"
    seen = before.with_check(Check("repeatable", same, evidence))
    return replace(seen, call_s=min(call_s, before.call_s), calls_s=call_s + before.calls_s)


def _responds(first: _CheckedRun, other: _CheckedRun) -> Check:
    """Checks that the output changes with the inputs, if the right outputs differ by more than both errors."""
    apart = largest_error(first.expected.out, other.expected.out)
    alike = apart <= 2 * (first.sdpa_error + other.sdpa_error)
    same = first.answer is not None and other.answer is not None and torch.equal(first.answer, other.answer)
    evidence = f"the same output, but the right outputs differ by {apart:.2e}" if same else "a different output"
    return Check("responds to its inputs", alike or not same, evidence)
