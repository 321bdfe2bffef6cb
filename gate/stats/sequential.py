"""Early stopping that does not lie: how much of alpha each look at the evidence may spend.

A trial may stop at planned numbers of replicates. Look k may spend alpha in proportion to the replicates that are new
to it, alpha_k = alpha (n_k - n_{k-1}) / n_max. The sum is alpha, so by the union bound the chance that any look's
interval misses is at most alpha, however the looks are correlated and for whatever reason the trial stopped. Exact
spending (Lan & DeMets, Biometrika 70, 1983) would be narrower by 5% at the last look and needs recursive integration.
"""

from __future__ import annotations

from collections.abc import Sequence


def spending(alpha: float, looks: Sequence[int]) -> tuple[float, ...]:
    """What each look may spend. Raises ValueError where the looks do not increase from 1 up."""
    steps = [now - before for before, now in zip((0, *looks), looks, strict=False)]
    if not steps or min(steps) < 1:
        raise ValueError(f"looks are increasing numbers of replicates, not {list(looks)}")
    return tuple(alpha * step / looks[-1] for step in steps)


def alpha_at(alpha: float, looks: Sequence[int], replicates: int) -> float:
    """What the interval of a trial that ended with `replicates` may spend; all of alpha where nothing was planned."""
    if not looks:
        return alpha
    shares = spending(alpha, looks)
    return next((share for look, share in zip(looks, shares, strict=True) if replicates <= look), shares[-1])
