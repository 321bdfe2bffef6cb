"""Warnings on a trial's samples: trend, autocorrelation, two groups. A warning never changes the verdict.

The thresholds were set on recorded A/A trials: a healthy machine seldom exceeds them. The rates are in
docs/statistics.md. Every function takes one number for each replicate, in the order of measurement.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from gate.stats.interval import Array

TREND_P = 0.01
LAG1 = 0.2
MODES_LEVEL = 0.01
FEWEST = 5
"""Minimum number of replicates for a warning."""


def sample_warnings(logs: Array, rounds: Array) -> tuple[str, ...]:
    """Warnings on a trial, from one log-ratio for each replicate, and from all as (replicates, rounds)."""
    if len(logs) < FEWEST or np.std(logs) == 0:
        return ()
    seen = {
        "trend: the ratio drifts from replicate to replicate": trend_p(logs) < TREND_P,
        "autocorrelation: neighbouring rounds are alike": autocorrelation(rounds) > LAG1,
        "two modes: the replicates fall into two groups": split_share(logs) > split_share_limit(len(logs)),
    }
    return tuple(warning for warning, present in seen.items() if present)


def trend_p(logs: Array) -> float:
    """The p-value of Spearman's rank correlation with the order of measurement."""
    from scipy.stats import spearmanr

    return float(spearmanr(np.arange(len(logs)), logs).pvalue)


def autocorrelation(rounds: Array) -> float:
    """Lag-1 autocorrelation of the rounds, averaged over replicates; (replicates, rounds)."""
    if rounds.shape[-1] < 3:
        return 0.0
    centred = rounds - rounds.mean(axis=-1, keepdims=True)
    power = (centred**2).sum(axis=-1)
    products = (centred[..., 1:] * centred[..., :-1]).sum(axis=-1)
    return float(np.mean(np.divide(products, power, out=np.zeros_like(power), where=power > 0)))


def split_share(logs: Array) -> Array:
    """The share of variance that the best split into two groups explains (Otsu, IEEE SMC 9, 1979); (..., n)."""
    ordered = np.sort(logs, axis=-1)
    centred = ordered - ordered.mean(axis=-1, keepdims=True)
    count = ordered.shape[-1]
    below = np.arange(1, count)
    left = np.cumsum(centred, axis=-1)[..., :-1]
    between = (left**2 * count / (below * (count - below))).max(axis=-1)
    return np.asarray(between / (centred**2).sum(axis=-1))


@cache
def split_share_limit(count: int) -> float:
    """Threshold that Gaussian replicates exceed in 1% of trials, from 20,000 simulated trials with a fixed seed."""
    simulated = np.random.default_rng(42).standard_normal((20_000, count))
    return float(np.quantile(split_share(simulated), 1 - MODES_LEVEL))
