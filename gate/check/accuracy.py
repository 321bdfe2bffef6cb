"""How far an answer may be from the oracle's, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gate.check import oracle
from gate.check.fault_map import locate_fault
from gate.check.oracle import Expected
from gate.records import Check, Fault
from gate.settings.model import Tolerance

ROUNDINGS = 4.0
"""At one element, how many times the expected rounding an error may exceed the tolerance by."""
TIMED_SLACK = 2.0
"""A timed output is held against SDPA, not the oracle: both may err, on inputs that no one has seen before. So the
limit is twice that of the check."""


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """An answer beside the right one: `error` is infinite where anything is not finite."""

    checks: list[Check]
    error: float
    fault: Fault | None


def ulp(values: torch.Tensor, dtype: torch.dtype) -> float:
    """One unit in the last place of the largest magnitude among `values`, in `dtype`."""
    return ulp_at(float(values.abs().max()), dtype)


def ulp_at(magnitude: float, dtype: torch.dtype) -> float:
    """One unit in the last place of `magnitude`, in `dtype`."""
    limits = torch.finfo(dtype)
    return float(limits.eps * 2.0 ** (math.frexp(max(magnitude, limits.tiny))[1] - 1))


def largest_error(out: torch.Tensor, expected: torch.Tensor) -> float:
    """Max |out - expected| in float64; infinite where anything is not finite."""
    error = float((out.double() - expected.double()).abs().max())
    return error if error == error else math.inf  # noqa: PLR0124  # NaN is the number that is not itself


def sdpa_answer(inputs: Sequence[torch.Tensor], scale: float, causal: bool) -> torch.Tensor:
    """SDPA's own answer, by whichever backend PyTorch prefers, in the inputs' dtype."""
    q, k, v = inputs
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)


def allowed_error(inputs: Sequence[torch.Tensor], scale: float, causal: bool, expected: Expected) -> float:
    """What SDPA itself errs by: the most of its preferred backend, of its math backend, and of rounding alone.

    One backend alone has the error of one draw, and where few elements can err that is small by luck: in float32,
    some right kernel of seven erred by more than twice as much in 11% of draws of large logits, 7% of constant and
    0.7% of normal inputs. With the second backend that is left in 1.6%, 0% and 0.2%; with what rounding may cost in
    none of 40,000 draws (six distributions, three dtypes, head sizes of 32 to 128, 1 to 512 keys; CPU, torch 2.13).
    The worst of them took 0.63 of the limit, or 1.00 for constant inputs in half precision, where one unit is all
    there is. On the required workloads the limit in float16 stays what it was, to 0.1%; in float32 it grows 1.8 to
    2.7 times.
    """
    preferred = largest_error(sdpa_answer(inputs, scale, causal), expected.out)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        plain = [
            largest_error(sdpa_answer([each[None] for each in part], scale, causal)[0], wanted)
            for *part, wanted in oracle.in_parts(*inputs, expected.out)
        ]
    return max(preferred, *plain, float(expected.rounding.max()))


def timed_limit(sdpa_error: float, magnitude: float, dtype: torch.dtype) -> float:
    """How far a timed output may be from SDPA's, whose largest magnitude this is."""
    return TIMED_SLACK * (2 * sdpa_error + ulp_at(magnitude, dtype))


def compare_outputs(
    out: torch.Tensor, expected: Expected, sdpa_error: float, tolerance: Tolerance, inputs: str
) -> OutputComparison:
    """An answer held against the right one by both rules. `inputs` says on which."""
    right, error = expected.out, largest_error(out, expected.out)
    tolerated = tolerance.atol + tolerance.rtol * right.abs() + ROUNDINGS * expected.rounding
    limit = 2 * sdpa_error + ulp(right, out.dtype)
    errors = (out.double() - right).abs()
    checks = [
        _written(out),
        _elementwise(out, right, errors <= tolerated, tolerance),
        _against_sdpa(error, limit, sdpa_error),
    ]
    passed = all(each.passed for each in checks)
    return OutputComparison(
        checks, error, None if passed else locate_fault(errors / tolerated.clamp(max=limit), inputs)
    )


def _written(out: torch.Tensor) -> Check:
    missing = int((~torch.isfinite(out)).sum())
    evidence = f"{missing} of {out.numel()} elements are NaN or infinite, or were not written"
    return Check("finite", missing == 0, evidence if missing else "every element")


def _elementwise(out: torch.Tensor, expected: torch.Tensor, within: torch.Tensor, tolerance: Tolerance) -> Check:
    outside = int((~within).sum())
    name = "elementwise tolerance"
    if not outside:
        rule = f"|out - ref| <= {tolerance.atol:g} + {tolerance.rtol:g} |ref| + {ROUNDINGS:g} roundings"
        return Check(name, True, f"{rule} everywhere")
    at = tuple(int(i) for i in (~within).nonzero()[0])
    seen = f"out{list(at)} = {float(out[at]):.6g}, should be {float(expected[at]):.6g}"
    return Check(name, False, f"{outside} of {out.numel()} elements are off; the first: {seen}")


def _against_sdpa(error: float, limit: float, sdpa_error: float) -> Check:
    """The second rule: no worse than twice SDPA's own error, and one unit in the last place."""
    evidence = f"max error {error:.2e}, at most {limit:.2e} (2 × SDPA's {sdpa_error:.2e} + 1 ulp)"
    return Check("accuracy of SDPA", error <= limit, evidence)
