"""Is a candidate's answer right? Every observation is one named check, so that a rejection says what was seen.

Acceptances are written `error <= limit`: NaN passes none of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from gate import reference
from gate.accuracy import allowed_error, compare, largest_error
from gate.device import Device
from gate.execution import Execution
from gate.implementations import Implementation
from gate.records import NORMAL, Case, Check, Correctness, Distribution, Fault, Status
from gate.reference import Expected
from gate.settings import Tolerance

HARDER: Distribution = "large_logits"
"""What normal inputs do not show: whether a maximum is subtracted before exp."""


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

    def along_with(self, check: Check) -> _Seen:
        return replace(self, checks=[*self.checks, check])


def check(device: Device, implementation: Implementation, case: Case, tolerance: Tolerance, seed: int) -> Correctness:
    """Runs the candidate in the same buffers: twice on one input, on another, and on a harder one where due."""
    rng = random.Random(seed)
    execution = Execution(device, implementation, case.workload, rng, layout=case.layout)
    return _concluded(list(_runs(execution, tolerance, case.distribution, rng)), case.distribution)


def _runs(
    execution: Execution, tolerance: Tolerance, distribution: Distribution, rng: random.Random
) -> Iterator[_Seen]:
    """Ends where a tensor was replaced: another call would meet tensors of the candidate's own making."""
    seed = rng.getrandbits(62)
    first = _examine(execution, tolerance, seed, distribution)
    if execution.replaced():
        yield first
        return
    yield first.along_with(_repeats(execution, first, seed))
    other = _examine(execution, tolerance, rng.getrandbits(62), distribution, "on other inputs")
    yield other.along_with(_responds(first, other))
    if distribution == NORMAL and not execution.replaced():
        yield _examine(execution, tolerance, rng.getrandbits(62), HARDER, "on large logits")


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
    )


def _examine(
    execution: Execution, tolerance: Tolerance, seed: int, distribution: Distribution, inputs: str = ""
) -> _Seen:
    """All checks of one run, and the errors of candidate and of SDPA against the oracle.

    A tensor that is no longer the one that was given has perhaps another shape: its numbers are not looked at.
    """
    execution.refresh(seed, distribution)
    out = execution.run()
    pristine = execution.pristine_inputs()
    q, k, v = pristine
    expected = reference.solve(q, k, v, execution.scale, execution.causal)
    sdpa_error = allowed_error(pristine, execution.scale, execution.causal, expected)
    seen = _Seen(distribution, _conduct(execution, pristine), expected, sdpa_error)
    if not execution.replaced():
        found = compare(out, expected, sdpa_error, tolerance, inputs)
        checks = [*seen.checks, *found.checks]
        seen = replace(seen, checks=checks, answer=out.clone(), error=found.error, fault=found.fault)
    return replace(seen, checks=[replace(each, name=f"{each.name} {inputs}".strip()) for each in seen.checks])


def _conduct(execution: Execution, pristine: list[torch.Tensor]) -> list[Check]:
    """What the run did besides computing."""
    changed, overrun, replaced = execution.changed_inputs(pristine), execution.overrun(), execution.replaced()
    return [
        Check("inputs unchanged", not changed, f"wrote to {', '.join(changed)}" if changed else "q, k, v as given"),
        Check("within bounds", not overrun, f"wrote beside {', '.join(overrun)}" if overrun else "guards intact"),
        Check("own storage", not replaced, f"replaced {', '.join(replaced)}" if replaced else "tensors as given"),
    ]


def _repeats(execution: Execution, before: _Seen, seed: int) -> Check:
    execution.refresh(seed, before.distribution)
    same = before.answer is not None and torch.equal(execution.run(), before.answer)
    evidence = "the same bits twice" if same else "another answer on the same inputs"
    return Check("repeatable", same, evidence)


def _responds(first: _Seen, other: _Seen) -> Check:
    """Another answer on other inputs, where the right answers are further apart than both may err."""
    apart = largest_error(first.expected.out, other.expected.out)
    alike = apart <= 2 * (first.sdpa_error + other.sdpa_error)
    same = first.answer is not None and other.answer is not None and torch.equal(first.answer, other.answer)
    evidence = f"the same answer, where the right ones differ by {apart:.2e}" if same else "another answer"
    return Check("responds to its inputs", alike or not same, evidence)
