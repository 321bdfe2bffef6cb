"""Multiple testing: many workloads, one verdict.

If *any* single alarm blocks (regressions, the A/A control), the chance of a false alarm grows with the number of
workloads, and Holm's procedure limits it to alpha. If *all* must pass (the faster gate), the verdict is an
intersection-union test: a kernel that is not faster on some workload passes only if that workload's test errs. The
probability of that is at most alpha; no correction is needed (Berger, Technometrics 24, 1982).

Holm's procedure is our own code because SciPy does not have it, and statsmodels is a large package for ten lines.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses are rejected at family-wise level alpha (Holm, Scand. J. Statist. 6, 1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    rejected = [False] * len(p_values)
    for step, index in enumerate(order):
        if not p_values[index] <= alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return tuple(rejected)
