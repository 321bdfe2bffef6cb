"""Is a candidate's answer right? Every observation is one named check, so that a rejection says what was seen.

Acceptances are written `error <= limit`: NaN passes none of them.
"""

from __future__ import annotations

import random

import torch

from gate import reference
from gate.device import Device
from gate.execution import Execution
from gate.implementations import Implementation
from gate.records import Check, Correctness, Status, Workload
from gate.settings import Tolerance


def check(
    device: Device, implementation: Implementation, workload: Workload, tolerance: Tolerance, seed: int
) -> Correctness:
    """Runs the candidate on one workload: twice on one input and once on another, in the same buffers."""
    rng = random.Random(seed)
    execution = Execution(device, implementation, workload, rng)
    first_seed, other_seed = rng.getrandbits(62), rng.getrandbits(62)

    checks, errors = _examine(execution, tolerance, first_seed, "")
    if not execution.replaced():  # else another call would meet tensors of the candidate's own making
        checks.append(_repeats(execution, execution.output.clone(), first_seed))
        others, other_errors = _examine(execution, tolerance, other_seed, " on other inputs")
        checks += others
        errors = [max(pair) for pair in zip(errors, other_errors, strict=True)]
    return _concluded(checks, *errors)


def _concluded(checks: list[Check], error: float, sdpa_error: float) -> Correctness:
    failed = [each for each in checks if not each.passed]
    message = f"{failed[0].name}: {failed[0].evidence}" if failed else ""
    return Correctness(
        status=Status.INCORRECT if failed else Status.OK,
        message=message,
        checks=tuple(checks),
        max_abs_err=error if error < float("inf") else None,
        sdpa_max_abs_err=sdpa_error,
    )


def sdpa(execution: Execution, pristine: list[torch.Tensor]) -> torch.Tensor:
    """SDPA's own answer, by whichever backend PyTorch prefers, in the inputs' dtype."""
    q, k, v = pristine
    attention = torch.nn.functional.scaled_dot_product_attention
    return attention(q, k, v, is_causal=execution.causal, scale=execution.scale)


def ulp(values: torch.Tensor, dtype: torch.dtype) -> float:
    """One unit in the last place of the largest magnitude among `values`, in `dtype`."""
    largest = float(values.abs().max())
    return torch.finfo(dtype).eps * 2.0 ** int(torch.tensor(largest).log2().floor()) if largest > 0 else 0.0


def largest_error(out: torch.Tensor, expected: torch.Tensor) -> float:
    """Max |out - expected| in float64; infinite where anything is not finite."""
    error = float((out.double() - expected.double()).abs().max())
    return error if error == error else float("inf")  # noqa: PLR0124  # NaN is the number that is not itself


def _examine(execution: Execution, tolerance: Tolerance, seed: int, suffix: str) -> tuple[list[Check], list[float]]:
    """All checks of one run, and the errors of candidate and of SDPA against the oracle.

    A tensor that is no longer the one that was given has perhaps another shape: its numbers are not looked at.
    """
    execution.refresh(seed)
    out = execution.run()
    pristine = execution.pristine_inputs()
    q, k, v = pristine
    expected = reference.attention(q, k, v, execution.scale, execution.causal)
    sdpa_error = largest_error(sdpa(execution, pristine), expected)
    checks, error = _conduct(execution, pristine), float("inf")
    if not execution.replaced():
        checks += [_written(out), _elementwise(out, expected, tolerance), _against_sdpa(out, expected, sdpa_error)]
        error = largest_error(out, expected)
    named = [Check(each.name + suffix, each.passed, each.evidence) for each in checks]
    return named, [error, sdpa_error]


def _conduct(execution: Execution, pristine: list[torch.Tensor]) -> list[Check]:
    """What the run did besides computing."""
    changed, overrun, replaced = execution.changed_inputs(pristine), execution.overrun(), execution.replaced()
    return [
        Check("inputs unchanged", not changed, f"wrote to {', '.join(changed)}" if changed else "q, k, v as given"),
        Check("within bounds", not overrun, f"wrote beside {', '.join(overrun)}" if overrun else "guards intact"),
        Check("own storage", not replaced, f"replaced {', '.join(replaced)}" if replaced else "tensors as given"),
    ]


def _written(out: torch.Tensor) -> Check:
    missing = int((~torch.isfinite(out)).sum())
    evidence = f"{missing} of {out.numel()} elements are NaN or infinite, or were not written"
    return Check("finite", missing == 0, evidence if missing else "every element")


def _elementwise(out: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance) -> Check:
    error = (out.double() - expected).abs()
    within = error <= tolerance.atol + tolerance.rtol * expected.abs()
    outside = int((~within).sum())
    name = "elementwise tolerance"
    if not outside:
        return Check(name, True, f"|out - ref| <= {tolerance.atol:g} + {tolerance.rtol:g} |ref| everywhere")
    at = tuple(int(i) for i in (~within).nonzero()[0])
    seen = f"out{list(at)} = {float(out[at]):.6g}, should be {float(expected[at]):.6g}"
    return Check(name, False, f"{outside} of {out.numel()} elements are off; the first: {seen}")


def _against_sdpa(out: torch.Tensor, expected: torch.Tensor, sdpa_error: float) -> Check:
    """The second rule: no worse than twice SDPA's own error, and one unit in the last place."""
    error, limit = largest_error(out, expected), 2 * sdpa_error + ulp(expected, out.dtype)
    evidence = f"max error {error:.2e}, at most {limit:.2e} (2 × SDPA's {sdpa_error:.2e} + 1 ulp)"
    return Check("accuracy of SDPA", error <= limit, evidence)


def _repeats(execution: Execution, before: torch.Tensor, seed: int) -> Check:
    execution.refresh(seed)
    same = torch.equal(execution.run(), before)
    evidence = "the same bits twice" if same else "another answer on the same inputs"
    return Check("repeatable", same, evidence)
