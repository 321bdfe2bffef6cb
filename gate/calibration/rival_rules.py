"""Decision rules of other projects, for comparison: faster (-1), no difference (0) or slower (+1).

A rule takes pooled samples (draws, samples) of baseline and candidate, in one unit of time, and treats them as
independent, as its source does. Bootstraps take 2,000 resamples, fewer than their sources use; this does not
widen the intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gate.stats.interval import Array

Decision = NDArray[np.int64]
RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """A decision rule and its source."""

    name: str
    source: str
    decide: Callable[[Array, Array], Decision]


def outside(low: Array, high: Array, threshold: float = 0.0) -> Decision:
    """+1 if the interval lies above the threshold, -1 if it lies below its negative."""
    return (low > threshold).astype(np.int64) - (high < -threshold).astype(np.int64)


def disjoint_intervals(baseline: Array, candidate: Array) -> Decision:
    """The percentile bootstrap intervals of the two medians do not overlap."""
    (low, high), (mine_low, mine_high) = _median_interval(baseline, 1), _median_interval(candidate, 2)
    return (mine_low > high).astype(np.int64) - (mine_high < low).astype(np.int64)


def difference_interval(baseline: Array, candidate: Array) -> Decision:
    """The percentile bootstrap interval of the difference of medians excludes zero."""
    difference = _resampled_medians(candidate, 2) - _resampled_medians(baseline, 1)
    low, high = np.quantile(difference, [0.025, 0.975], axis=-1)
    return outside(low, high)


def mann_whitney(baseline: Array, candidate: Array, level: float = 0.05) -> Decision:
    """Mann-Whitney U below the level; the direction is that of the larger rank sum."""
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(candidate, baseline, axis=-1, method="asymptotic")
    sign = np.sign(found.statistic - baseline.shape[-1] * candidate.shape[-1] / 2)
    return np.where(found.pvalue < level, sign, 0).astype(np.int64)


def welch(baseline: Array, candidate: Array) -> Decision:
    """Welch's t-test below 0.05."""
    from scipy.stats import ttest_ind

    found = ttest_ind(candidate, baseline, axis=-1, equal_var=False)
    return np.where(found.pvalue < 0.05, np.sign(found.statistic), 0).astype(np.int64)


def median_ratio(baseline: Array, candidate: Array, factor: float = 1.05) -> Decision:
    """The ratio of medians beyond a factor."""
    ratio = np.median(candidate, axis=-1) / np.median(baseline, axis=-1)
    return (ratio > factor).astype(np.int64) - (ratio < 1 / factor).astype(np.int64)


def minimum_ratio(baseline: Array, candidate: Array, tolerance: float) -> Decision:
    """The ratio of minima beyond a tolerance."""
    ratio = candidate.min(axis=-1) / baseline.min(axis=-1)
    return outside(ratio - 1, ratio - 1, tolerance)


def criterion(baseline: Array, candidate: Array, noise: float = 0.01) -> Decision:
    """A bootstrapped t-test below 0.05, and the interval of the change of means wholly beyond the noise threshold."""
    change = _resampled_means(candidate, 3) / _resampled_means(baseline, 4) - 1
    low, high = np.quantile(change, [0.025, 0.975], axis=-1)
    return np.where(_bootstrapped_t_p(baseline, candidate) < 0.05, outside(low, high, noise), 0)


def asv(baseline: Array, candidate: Array) -> Decision:
    """Mann-Whitney below 0.002, and the medians apart by a factor of 1.1."""
    return np.where(mann_whitney(baseline, candidate, 0.002) != 0, median_ratio(baseline, candidate, 1.1), 0)


DECISION_RULES = (
    DecisionRule("bootstrap, disjoint intervals", "common practice in benchmark reports", disjoint_intervals),
    DecisionRule("bootstrap of the difference", "common practice in benchmark reports", difference_interval),
    DecisionRule("Mann-Whitney p < 0.05", "golang/perf benchstat's test, on pooled samples", mann_whitney),
    DecisionRule("Welch's t p < 0.05", "Welch, Biometrika 34, 1947, on pooled samples", welch),
    DecisionRule("ratio of medians > 1.05", "common practice in CI thresholds", median_ratio),
    DecisionRule(
        "minimum, 5%",
        "BenchmarkTools.jl: judge(minimum(a), minimum(b)), time_tolerance = 0.05",
        lambda baseline, candidate: minimum_ratio(baseline, candidate, 0.05),
    ),
    DecisionRule(
        "minimum, 1%",
        "timeit's advice to take the minimum, at a threshold of 1%",
        lambda baseline, candidate: minimum_ratio(baseline, candidate, 0.01),
    ),
    DecisionRule(
        "criterion.rs", "criterion.rs: src/analysis/compare.rs and src/report.rs, noise threshold 1%", criterion
    ),
    DecisionRule("asv", "asv: statistics.is_different and commands/compare.py, factor 1.1", asv),
)


def _median_interval(samples: Array, seed: int) -> tuple[Array, Array]:
    low, high = np.quantile(_resampled_medians(samples, seed), [0.025, 0.975], axis=-1)
    return low, high


def _resampled_medians(samples: Array, seed: int) -> Array:
    """Medians of bootstrap resamples, (draws, resamples): of the ordered samples, only the middle ranks matter."""
    ordered, (lower, upper) = np.sort(samples, axis=-1), _middle_ranks(samples.shape[-1], seed)
    return np.asarray((ordered[:, lower] + ordered[:, upper]) / 2)


@cache
def _middle_ranks(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    drawn = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    middle = [(count - 1) // 2, count // 2]
    lower, upper = np.partition(drawn, middle, axis=-1)[:, middle].T
    return lower, upper


def _resampled_means(samples: Array, seed: int) -> Array:
    return np.asarray(samples @ _weights(samples.shape[-1], samples.shape[-1], seed))


@cache
def _weights(population: int, size: int, seed: int) -> Array:
    """(population, resamples): how often each sample is drawn, over the size of the resample."""
    drawn = np.random.default_rng(seed).integers(0, population, (RESAMPLES, size))
    flat = drawn + population * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(flat.ravel(), minlength=RESAMPLES * population).reshape(RESAMPLES, population)
    return np.ascontiguousarray(counts.T / size)


def _bootstrapped_t_p(baseline: Array, candidate: Array) -> Array:
    """The two-sided p-value of Welch's t against its distribution under resampling from both sides pooled."""
    from scipy.stats import ttest_ind

    ours, theirs = candidate.shape[-1], baseline.shape[-1]
    observed = np.asarray(ttest_ind(candidate, baseline, axis=-1, equal_var=False).statistic)
    pool = np.concatenate([baseline, candidate], axis=-1)
    pool = pool - pool.mean(axis=-1, keepdims=True)
    first, second = _moments(pool, theirs, 5), _moments(pool, ours, 6)
    simulated = (second[0] - first[0]) / np.sqrt(first[1] + second[1])
    below = (simulated < observed[:, None]).mean(axis=-1)
    return np.asarray(2 * np.minimum(below, 1 - below))


def _moments(pool: Array, size: int, seed: int) -> tuple[Array, Array]:
    """Mean, and variance of the mean, of resamples of `size`."""
    weights = _weights(pool.shape[-1], size, seed)
    mean = pool @ weights
    return mean, (pool**2 @ weights - mean**2) / (size - 1)
