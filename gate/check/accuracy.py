"""The error of an output against the oracle, and its limits."""

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
"""The error of one element may exceed atol + rtol by this multiple of its expected rounding error."""
TIMED_SLACK = 2.0
"""A timed output is compared with SDPA, not with the oracle. Both have errors, so the limit is twice the check's."""


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """The comparison of an output with the right one. `error` is infinite if any element is not finite."""

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
    """Max |out - expected| in float64; infinite if any element is not finite."""
    error = float((out.double() - expected.double()).abs().max())
    return error if error == error else math.inf  # noqa: PLR0124  # NaN is not equal to itself


def sdpa_answer(inputs: Sequence[torch.Tensor], scale: float, causal: bool) -> torch.Tensor:
    """SDPA's output from the backend that PyTorch prefers, in the inputs' dtype."""
    q, k, v = inputs
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)


def allowed_error(inputs: Sequence[torch.Tensor], scale: float, causal: bool, expected: Expected) -> float:
    """The largest of three errors: of SDPA's preferred backend, of its math backend, and of rounding alone.

    The error of one backend is a single random draw, and with few elements it can be small by luck: in float32, at
    least one of seven right kernels had more than twice that error in 11% of draws of large logits, 7% of constant
    and 0.7% of normal inputs. The second backend reduces this to 1.6%, 0% and 0.2%; the rounding error to none of
    40,000 draws (six distributions, three dtypes, head sizes of 32 to 128, 1 to 512 keys; CPU, torch 2.13). The
    largest error was 0.63 of the limit, or 1.00 for constant inputs in half precision, where the smallest possible
    error is one unit in the last place. On the required workloads, the limit in float16 changes by at most 0.1%
    against SDPA's preferred backend alone; in float32 it grows 1.8 to 2.7 times.
    """
    preferred = largest_error(sdpa_answer(inputs, scale, causal), expected.out)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        plain = [
            largest_error(sdpa_answer([tensor[None] for tensor in part], scale, causal)[0], right)
            for *part, right in oracle.in_parts(*inputs, expected.out)
        ]
    return max(preferred, *plain, float(expected.rounding.max()))


def timed_limit(sdpa_error: float, magnitude: float, dtype: torch.dtype) -> float:
    """The largest allowed |out - SDPA's output| of a timed run. `magnitude` is the largest one of SDPA's output."""
    return TIMED_SLACK * (2 * sdpa_error + ulp_at(magnitude, dtype))


def compare_outputs(
    out: torch.Tensor, expected: Expected, sdpa_error: float, tolerance: Tolerance, inputs: str
) -> OutputComparison:
    """Compares an output with the right one by both rules. `inputs` describes the inputs, for the report."""
    right, error = expected.out, largest_error(out, expected.out)
    tolerated = tolerance.atol + tolerance.rtol * right.abs() + ROUNDINGS * expected.rounding
    limit = 2 * sdpa_error + ulp(right, out.dtype)
    errors = (out.double() - right).abs()
    checks = [
        _written(out),
        _elementwise(out, right, errors <= tolerated, tolerance),
        _against_sdpa(error, limit, sdpa_error),
    ]
    passed = all(check.passed for check in checks)
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
    index = tuple(int(i) for i in (~within).nonzero()[0])
    first = f"out{list(index)} = {float(out[index]):.6g}, expected {float(expected[index]):.6g}"
    return Check(name, False, f"{outside} of {out.numel()} elements are wrong; the first: {first}")


def _against_sdpa(error: float, limit: float, sdpa_error: float) -> Check:
    """The second rule: at most twice SDPA's error plus one unit in the last place."""
    evidence = f"max error {error:.2e}, at most {limit:.2e} (2 × SDPA's {sdpa_error:.2e} + 1 ulp)"
    return Check("accuracy of SDPA", error <= limit, evidence)
