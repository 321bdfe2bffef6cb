"""Compares two sets of samples with the statistics that papers report.

They assume independent samples, but samples of one process are not: decide by `gate.stats.interval` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from gate.records import Record
from gate.stats.interval import Array

RESAMPLES = 10_000
SEED = 42
MAGNITUDES = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))
"""Upper bounds of |Cliff's delta| (Romano et al., 2006)."""


def bootstrap_ci(
    samples: ArrayLike,
    confidence: float = 0.95,
    n_resamples: int = RESAMPLES,
    seed: int = SEED,
    statistic: Callable[..., Any] = np.median,
    method: Literal["percentile", "BCa"] = "percentile",
) -> tuple[float, float]:
    """The bootstrap interval (low, high) of a statistic, in the samples' unit; equal bits for equal seeds.

    Raises ValueError for fewer than two samples, NaN or infinity, or a confidence outside (0, 1).
    """
    from scipy.stats import bootstrap

    values = validated_samples(samples, at_least=2)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, not at {confidence}")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,), statistic, n_resamples=n_resamples, confidence_level=confidence, method=method,
        rng=np.random.default_rng(seed), vectorized=None, batch=_batch(len(values)),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def hedges_g(baseline: ArrayLike, candidate: ArrayLike) -> float:
    """The standardised difference of means, candidate - baseline, with Hedges' small-sample factor (1981).

    Infinite where the two differ and neither varies.
    """
    first, second = validated_samples(baseline, at_least=2), validated_samples(candidate, at_least=2)
    degrees = len(first) + len(second) - 2
    pooled = (first.var(ddof=1) * (len(first) - 1) + second.var(ddof=1) * (len(second) - 1)) / degrees
    difference = float(second.mean() - first.mean())
    if pooled == 0:
        return float(np.copysign(np.inf, difference)) if difference else 0.0
    return difference / float(np.sqrt(pooled)) * _hedges_factor(degrees)


def cliffs_delta(baseline: ArrayLike, candidate: ArrayLike) -> float:
    """P(candidate > baseline) - P(candidate < baseline), by ranks; -1 if every candidate sample is smaller."""
    from scipy.stats import rankdata

    first, second = validated_samples(baseline), validated_samples(candidate)
    ranks = rankdata(np.concatenate([first, second]))[len(first) :]
    wins = float(ranks.sum()) - len(second) * (len(second) + 1) / 2
    return 2 * wins / (len(first) * len(second)) - 1


def magnitude(delta: float) -> str:
    """The size of Cliff's delta: negligible, small, medium or large."""
    return next((word for bound, word in MAGNITUDES if abs(delta) < bound), "large")


def mann_whitney_p(baseline: ArrayLike, candidate: ArrayLike) -> float:
    """The two-sided p-value of the Mann-Whitney U test."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(validated_samples(baseline), validated_samples(candidate)).pvalue)


def permutation_p(baseline: ArrayLike, candidate: ArrayLike, n_resamples: int = RESAMPLES, seed: int = SEED) -> float:
    """The two-sided p-value of the difference of medians under exchange of labels, never 0.

    Exact where there are at most `n_resamples` ways to exchange them; else (b + 1) / (B + 1) over so many at random.
    """
    from scipy.stats import permutation_test

    samples = validated_samples(baseline), validated_samples(candidate)
    found = permutation_test(
        samples, _distance_of_medians, vectorized=True, n_resamples=n_resamples, alternative="greater", axis=-1,
        rng=np.random.default_rng(seed), batch=_batch(sum(map(len, samples))),
    )  # fmt: skip
    return float(found.pvalue)


def _distance_of_medians(first: Array, second: Array, axis: int) -> Array:
    return np.abs(np.median(first, axis=axis) - np.median(second, axis=axis))


@dataclass(frozen=True, slots=True)
class Distributions(Record):
    """Two sets of samples compared; times in the samples' unit, `difference_percent` of the baseline's median."""

    baseline_median: float
    baseline_ci: tuple[float, float]
    candidate_median: float
    candidate_ci: tuple[float, float]
    speedup: float
    difference_percent: float
    intervals_overlap: bool
    hedges_g: float
    cliffs_delta: float
    magnitude: str
    mann_whitney_p: float
    permutation_p: float
    significant: bool
    verdict: str
    warnings: tuple[str, ...] = ()


def compare_distributions(baseline: ArrayLike, candidate: ArrayLike, seed: int = SEED) -> Distributions:
    """Everything above on two sets of positive times, with a sentence to quote in a paper.

    `significant`: the intervals are apart and the permutation test's p is below 0.05. Raises ValueError for samples
    that are empty, not finite or not positive.
    """
    first, second = (validated_samples(arm, at_least=2, positive=True) for arm in (baseline, candidate))
    medians = float(np.median(first)), float(np.median(second))
    intervals = bootstrap_ci(first, seed=seed), bootstrap_ci(second, seed=seed + 1)
    overlap = intervals[0][0] <= intervals[1][1] and intervals[1][0] <= intervals[0][1]
    delta, p_value = cliffs_delta(first, second), permutation_p(first, second, seed=seed)
    significant = not overlap and p_value < 0.05
    return Distributions(
        baseline_median=medians[0],
        baseline_ci=intervals[0],
        candidate_median=medians[1],
        candidate_ci=intervals[1],
        speedup=medians[0] / medians[1],
        difference_percent=100 * (medians[1] / medians[0] - 1),
        intervals_overlap=overlap,
        hedges_g=hedges_g(first, second),
        cliffs_delta=delta,
        magnitude=magnitude(delta),
        mann_whitney_p=mann_whitney_p(first, second),
        permutation_p=p_value,
        significant=significant,
        verdict=_sentence(medians, intervals, delta, p_value, significant),
        warnings=_warnings(first, second),
    )


def validated_samples(samples: ArrayLike, at_least: int = 1, positive: bool = False) -> Array:
    """Samples as a flat array of floats. Raises ValueError for too few, NaN, infinity or (if asked) no time."""
    values = np.asarray(samples, dtype=float).ravel()
    if len(values) < at_least:
        raise ValueError(f"{len(values)} samples; at least {at_least} are needed")
    if not np.isfinite(values).all():
        raise ValueError("samples carry NaN or infinity; measure again")
    if positive and values.min() <= 0:
        raise ValueError("a time is positive; these samples are not all")
    return values


def _sentence(
    medians: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    delta: float,
    p_value: float,
    significant: bool,
) -> str:
    times = [f"{m:.4g} (95% CI {low:.4g} to {high:.4g})" for m, (low, high) in zip(medians, intervals, strict=True)]
    direction = "shorter" if medians[1] < medians[0] else "longer"
    change = abs(100 * (medians[1] / medians[0] - 1))
    finding = f"{change:.1f}% {direction}" if significant else "not distinguishable"
    return (
        f"The candidate's median time, {times[1]}, is {finding} against the baseline's, {times[0]} "
        f"(Cliff's delta {delta:+.2f}, {magnitude(delta)}; permutation p = {p_value:.2g}; samples as independent)."
    )


def _warnings(first: Array, second: Array) -> tuple[str, ...]:
    fewest = min(len(first), len(second))
    warnings = ["samples of one process are not independent: these p-values are too small"]
    if fewest < 20:
        warnings.append(f"{fewest} samples: the bootstrap interval of a median needs about 20")
    if min(np.ptp(first), np.ptp(second)) == 0:
        warnings.append("one side does not vary at all: not a measurement")
    return tuple(warnings)


def _hedges_factor(degrees: int) -> float:
    """J(m) = gamma(m/2) / (sqrt(m/2) gamma((m-1)/2)), exactly (Hedges, J. Educ. Stat. 6, 1981)."""
    from scipy.special import gammaln

    half = degrees / 2
    return float(np.exp(gammaln(half) - gammaln(half - 0.5)) / np.sqrt(half))


def _batch(length: int) -> int:
    """Number of resamples computed at once, which take about 32 MB."""
    return max(1, (4 << 20) // length)
