"""Intervals over many trials at once: Kernel Gate's and its alternatives. Logarithms in, (draws, replicates)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np

from gate.calibration.rival_rules import outside
from gate.records import Record
from gate.stats.interval import Array, t_interval
from gate.stats.sequential import spending

RESAMPLES = 2_000
MAX_DRAWS, MAX_REPLICATES, MAX_SEED = 100_000, 10_000, 2**64 - 1

Intervals: TypeAlias = tuple[Array, Array, Array]
"""Low and high end per draw, of the log-ratio, and the replicates used."""


@dataclass(frozen=True, slots=True)
class ReplayDesign(Record):
    """The design of a replay."""

    draws: int = 1_000
    replicates: int = 10
    interim_replicates: tuple[int, ...] = (5, 10, 20)
    alpha: float = 0.05
    seed: int = 42

    def __post_init__(self) -> None:
        bounds = (("draws", self.draws, 1, MAX_DRAWS), ("replicates", self.replicates, 2, MAX_REPLICATES))
        for name, value, least, most in (*bounds, ("seed", self.seed, 0, MAX_SEED)):
            if not least <= value <= most:
                raise ValueError(f"{name} lies between {least} and {most}, not at {value}")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha lies between 0 and 1, not at {self.alpha}")
        spending(self.alpha, self.interim_replicates)


def interval_rules(plan: ReplayDesign) -> list[tuple[str, str, Callable[[Array], Intervals]]]:
    """Name, description and interval of each rule, Kernel Gate's first."""
    count = plan.replicates

    def fixed(method: Callable[[Array, float], tuple[Array, Array]]) -> Callable[[Array], Intervals]:
        def intervals(logs: Array) -> Intervals:
            low, high = method(logs[:, :count], plan.alpha)
            return low, high, np.full(len(logs), float(count))

        return intervals

    stops = ", ".join(map(str, plan.interim_replicates))
    return [
        (f"Kernel Gate, {count} replicates", "t on replicates' median log-ratios", fixed(_t)),
        (
            f"Kernel Gate, stopping at {stops}",
            "the same, alpha spent over interim analyses",
            lambda logs: _stopped(logs, plan),
        ),
        ("bootstrap of replicates", "percentile cluster bootstrap of the mean", fixed(_percentile)),
        ("bootstrap-t of replicates", "studentised, symmetric, of the mean", fixed(_studentised)),
    ]


def _t(logs: Array, alpha: float) -> tuple[Array, Array]:
    mean, half = t_interval(logs, alpha)
    return mean - half, mean + half


def _stopped(logs: Array, plan: ReplayDesign) -> Intervals:
    """Each draw's interval at the first interim analysis that excludes no difference, or at the last."""
    low, high, used = (np.zeros(len(logs)) for _ in range(3))
    open_ = np.ones(len(logs), dtype=bool)
    for count, alpha in zip(plan.interim_replicates, spending(plan.alpha, plan.interim_replicates), strict=True):
        ends = _t(logs[:, :count], alpha)
        low[open_], high[open_], used[open_] = ends[0][open_], ends[1][open_], count
        open_ &= outside(*ends) == 0
    return low, high, used


def _percentile(logs: Array, alpha: float) -> tuple[Array, Array]:
    low, high = np.quantile(logs @ _counts(logs.shape[-1]), [alpha / 2, 1 - alpha / 2], axis=-1)
    return low, high


def _studentised(logs: Array, alpha: float) -> tuple[Array, Array]:
    count, weights = logs.shape[-1], _counts(logs.shape[-1])
    mean, error = logs.mean(axis=-1), logs.std(axis=-1) / np.sqrt(count)
    means = logs @ weights
    errors = np.sqrt(np.maximum(logs**2 @ weights - means**2, 1e-300) / count)
    half = np.quantile(np.abs(means - mean[:, None]) / errors, 1 - alpha, axis=-1) * error
    return mean - half, mean + half


@cache
def _counts(count: int) -> Array:
    """(replicates, resamples): the share of each replicate in each bootstrap resample."""
    drawn = np.random.default_rng(42).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return np.ascontiguousarray(drawn.T / count)
