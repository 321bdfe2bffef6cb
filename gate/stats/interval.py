"""The deciding interval: a ratio of times, with the replicate as the unit of evidence.

Samples of one process share its addresses and clocks; therefore more rounds do not reduce the variation between
processes. Each replicate gives one number, the median of its rounds' log-ratios, and the interval is Student's t on
these numbers. docs/statistics.md describes the alternatives and the reasons for this choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gate.records import Estimate

Array: TypeAlias = NDArray[np.float64]
Rounds: TypeAlias = Sequence[Sequence[float]]
"""Times in ms: a sequence of rounds per replicate."""

POWER = 0.8
"""The power with which `detectable_difference` is detected."""
MAX_LOG = 230.0
"""Bound of log(ratio): no two real times differ by a factor of 1e100, but the interval of a few extreme ones may."""


def log_ratios(candidate: Rounds, baseline: Rounds) -> Array:
    """One number for each replicate: the median over its rounds of log(candidate / baseline), paired within rounds.

    Raises ValueError if the two do not have the same rounds.
    """
    pairs = zip(candidate, baseline, strict=True)
    return np.asarray([_median_log_ratio(mine, theirs) for mine, theirs in pairs])


def _median_log_ratio(candidate: Sequence[float], baseline: Sequence[float]) -> float:
    if len(candidate) != len(baseline):
        raise ValueError("paired arms have the same rounds; these do not")
    return float(np.median(np.log(np.asarray(candidate)) - np.log(np.asarray(baseline))))


def t_interval(logs: ArrayLike, alpha: float | Array) -> tuple[Array, Array]:
    """Mean and half-width of Student's t-interval over the last axis, at confidence 1 - alpha."""
    from scipy.special import stdtrit

    values = np.asarray(logs, dtype=float)
    count = values.shape[-1]
    factor = -stdtrit(count - 1, np.asarray(alpha) / 2)
    return values.mean(axis=-1), np.asarray(factor * values.std(axis=-1, ddof=1) / math.sqrt(count))


def paired_ratio(candidate: Rounds, baseline: Rounds, alpha: float, min_replicates: int = 2) -> Estimate:
    """Candidate time over baseline time, paired within rounds, with its interval at confidence 1 - alpha.

    With fewer than `min_replicates` there is no interval, nor if all are identical, which real ones never are.
    """
    return mean_ratio(log_ratios(candidate, baseline), alpha, min_replicates)


def mean_ratio(logs: Array, alpha: float, min_replicates: int = 2) -> Estimate:
    """The estimate from one log-ratio for each replicate."""
    count, point = len(logs), float(np.mean(logs))
    spread = float(np.std(logs, ddof=1)) if count > 1 else 0.0
    if count < max(2, min_replicates) or spread <= _rounding(logs):
        return Estimate(ratio_of(point), None, None, 1 - alpha, count)
    _, half = t_interval(logs, alpha)
    p_value = two_sided_p(point / (spread / math.sqrt(count)), count - 1)
    return _estimate(point, float(half), 1 - alpha, count, p_value)


def unpaired_ratio(
    candidate: Rounds, baseline: Rounds, alpha: float, session_sd: float, min_replicates: int = 2
) -> Estimate:
    """Candidate time over baseline time, if they were measured in separate trials; weaker than `paired_ratio`.

    Welch's interval on the replicates' log medians, widened by the difference between two sessions: an effect of
    standard deviation `session_sd` (of the logarithm) on each side, which no number of replicates averages out.
    """
    sides = _log_medians(candidate, baseline)
    return welch_ratio(sides[0], sides[1], alpha, session_sd, min_replicates)


def unpaired_degrees(candidate: Rounds, baseline: Rounds, session_sd: float) -> float:
    """The degrees of freedom of `unpaired_ratio`'s interval; the variance between sessions counts as known."""
    return _welch_error(_log_medians(candidate, baseline), session_sd)[1]


def _log_medians(*sides: Rounds) -> list[Array]:
    return [np.log([np.median(rounds) for rounds in side]) for side in sides]


def welch_ratio(
    candidate: Array, baseline: Array, alpha: float, session_sd: float, min_replicates: int = 2
) -> Estimate:
    """The ratio of two independent sets of logarithms, one for each replicate."""
    point, fewest = float(np.mean(candidate) - np.mean(baseline)), min(len(candidate), len(baseline))
    if fewest < max(2, min_replicates) or any(np.std(arm) <= _rounding(arm) for arm in (candidate, baseline)):
        return Estimate(ratio_of(point), None, None, 1 - alpha, fewest)
    error, degrees = _welch_error([candidate, baseline], session_sd)
    return _estimate(point, t_factor(degrees, alpha) * error, 1 - alpha, fewest, two_sided_p(point / error, degrees))


def _welch_error(sides: Sequence[Array], session_sd: float) -> tuple[float, float]:
    """Standard error and Welch-Satterthwaite degrees of freedom, the sessions' variance taken as known."""
    parts = [(float(np.var(side, ddof=1)) / len(side), len(side) - 1) for side in sides]
    variance = sum(part for part, _ in parts) + 2 * session_sd**2
    return math.sqrt(variance), variance**2 / sum(part**2 / degrees for part, degrees in parts)


def t_factor(degrees: float, alpha: float) -> float:
    """The two-sided quantile of Student's t at confidence 1 - alpha."""
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, alpha / 2))


def two_sided_p(t: float, degrees: float) -> float:
    """The p-value of Student's t."""
    from scipy.special import stdtr

    return ratio_digits(2 * float(stdtr(degrees, -abs(t))))


def detectable_difference(estimate: Estimate, degrees: float | None = None) -> float | None:
    """The relative difference that such an interval detects with a power of 80%.

    exp((t_{1-alpha/2} + t_{0.8}) * standard error) - 1. The standard error is derived from the interval, which has
    `degrees` of freedom; the default is that of a paired interval, replicates - 1.
    """
    if estimate.low is None or estimate.high is None:
        return None
    freedom, alpha = degrees or estimate.replicates - 1, 1 - estimate.confidence
    error = math.log(estimate.high / estimate.low) / 2 / t_factor(freedom, alpha)
    return round(math.expm1((t_factor(freedom, alpha) + t_factor(freedom, 2 * (1 - POWER))) * error), 9)


def ratio_of(log: float) -> float:
    """exp, rounded to nine digits."""
    return ratio_digits(math.exp(max(-MAX_LOG, min(log, MAX_LOG))))


def ratio_digits(value: float) -> float:
    """Rounds to nine digits: the last bits of log and exp differ between processors, but a verdict must not."""
    return float(f"{value:.9g}")


def _estimate(point: float, half: float, confidence: float, count: int, p_value: float) -> Estimate:
    return Estimate(
        ratio_of(point), ratio_of(point - half), ratio_of(point + half), ratio_digits(confidence), count, p_value
    )


def _rounding(values: Array) -> float:
    """A spread up to this is rounding error, not measurement noise."""
    return 1e-12 * max(1.0, float(np.max(np.abs(values))))
