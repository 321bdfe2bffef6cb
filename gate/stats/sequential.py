"""Early stopping at a controlled error rate: the share of alpha that each interim analysis may spend.

A trial may stop after planned numbers of replicates. Interim analysis k may spend alpha in proportion to the
replicates that are new to it: alpha_k = alpha (n_k - n_{k-1}) / n_max. The sum is alpha, so by the union bound the
chance that any analysis' interval misses is at most alpha, however the analyses are correlated and for whatever
reason the trial stopped. Exact spending (Lan & DeMets, Biometrika 70, 1983) would be narrower by 5% at the last
analysis, and needs recursive integration.
"""

from __future__ import annotations

from collections.abc import Sequence


def spending(alpha: float, interim_replicates: Sequence[int]) -> tuple[float, ...]:
    """The alpha of each interim analysis. Raises ValueError unless the numbers of replicates increase from 1 up."""
    steps = [now - before for before, now in zip((0, *interim_replicates), interim_replicates, strict=False)]
    if not steps or min(steps) < 1:
        raise ValueError(f"interim_replicates are increasing numbers of replicates, not {list(interim_replicates)}")
    return tuple(alpha * step / interim_replicates[-1] for step in steps)


def alpha_at(alpha: float, interim_replicates: Sequence[int], replicates: int) -> float:
    """The alpha of the interval of a trial that ended with `replicates`; all of alpha without interim analyses."""
    if not interim_replicates:
        return alpha
    shares = spending(alpha, interim_replicates)
    return next(
        (share for planned, share in zip(interim_replicates, shares, strict=True) if replicates <= planned),
        shares[-1],
    )
