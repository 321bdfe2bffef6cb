"""What papers ask for, against SciPy, textbooks and worked examples."""

import numpy as np
import pytest
from scipy import stats

from gate.stats.two_sample import (
    bootstrap_ci,
    cliffs_delta,
    compare_distributions,
    hedges_g,
    magnitude,
    mann_whitney_p,
    permutation_p,
)

RNG = np.random.default_rng(9)
FIRST, SECOND = RNG.normal(10, 1, 40), RNG.normal(10.8, 1.3, 35)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_bootstrap_interval_is_scipys(method):
    expected = stats.bootstrap(
        (FIRST,), np.median, n_resamples=10_000, method=method, rng=np.random.default_rng(42)
    ).confidence_interval
    assert bootstrap_ci(FIRST, method=method) == pytest.approx((expected.low, expected.high))


def test_the_bootstrap_interval_of_a_mean_is_near_theory():
    samples = np.random.default_rng(1).normal(0, 1, 400)
    low, high = bootstrap_ci(samples, statistic=np.mean)
    assert (high - low) / 2 == pytest.approx(1.96 * samples.std() / 20, rel=0.05)


def test_the_same_seed_gives_the_same_bits():
    assert bootstrap_ci(FIRST) == bootstrap_ci(FIRST)
    means = [bootstrap_ci(FIRST, statistic=np.mean, seed=seed) for seed in (1, 1, 2)]
    assert means[0] == means[1] != means[2]


def test_samples_that_do_not_vary_have_an_interval_of_no_width():
    assert bootstrap_ci([3.0] * 5) == (3.0, 3.0)


def test_hedges_g_of_a_worked_example():
    # Means 2 and 4, both variances 1, three each: d = 2, and J(4) = gamma(2) / (sqrt(2) gamma(1.5)) = 0.797885.
    assert hedges_g([1, 2, 3], [3, 4, 5]) == pytest.approx(2 * 0.7978845608)
    assert hedges_g([3, 4, 5], [1, 2, 3]) == pytest.approx(-2 * 0.7978845608)


def test_hedges_g_without_spread_is_zero_or_infinite():
    assert hedges_g([1, 1], [1, 1]) == 0
    assert hedges_g([1, 1], [2, 2]) == np.inf


def test_cliffs_delta_counts_pairs():
    first, second = [1, 2, 2, 5], [2, 3, 4]
    pairs = [np.sign(b - a) for a in first for b in second]
    assert cliffs_delta(first, second) == pytest.approx(np.mean(pairs))
    assert cliffs_delta([1, 2], [3, 4]) == 1
    assert cliffs_delta([1, 1], [1, 1]) == 0


@pytest.mark.parametrize(
    ("delta", "word"),
    [
        (0.0, "negligible"),
        (-0.146, "negligible"),
        (0.147, "small"),
        (0.33, "medium"),
        (-0.474, "large"),
        (1, "large"),
    ],
)
def test_cliffs_delta_in_a_word(delta, word):
    assert magnitude(delta) == word


def test_mann_whitney_is_scipys():
    assert mann_whitney_p(FIRST, SECOND) == pytest.approx(stats.mannwhitneyu(FIRST, SECOND).pvalue)


def test_the_permutation_test_agrees_with_scipys_and_is_never_zero():
    def statistic(x, y, axis):
        return np.median(x, axis=axis) - np.median(y, axis=axis)

    few = FIRST[:8], SECOND[:8]
    exact = stats.permutation_test(few, statistic, vectorized=True, n_resamples=np.inf)
    assert permutation_p(*few) == pytest.approx(exact.pvalue, abs=0.02)
    assert permutation_p(FIRST, FIRST + 100) == 1 / 10_001


def test_the_permutation_test_is_level_under_the_null():
    rng = np.random.default_rng(6)
    p_values = [permutation_p(*rng.normal(size=(2, 15)), n_resamples=199) for _ in range(400)]
    assert np.mean(np.array(p_values) <= 0.1) <= 0.15


def test_a_comparison_names_direction_size_and_doubt():
    faster = compare_distributions(SECOND + 5, FIRST)
    assert faster.significant
    assert faster.speedup > 1
    assert faster.difference_percent < 0
    assert faster.cliffs_delta == -1
    assert "shorter" in faster.verdict
    same = compare_distributions(FIRST, RNG.permutation(FIRST))
    assert not same.significant
    assert "not distinguishable" in same.verdict


def test_a_comparison_warns_that_samples_of_one_process_are_not_independent():
    assert any("not independent" in warning for warning in compare_distributions(FIRST, SECOND).warnings)
    assert any("about 20" in warning for warning in compare_distributions(FIRST[:5], SECOND).warnings)
    assert any("does not vary" in warning for warning in compare_distributions([1.0, 1.0], SECOND).warnings)


@pytest.mark.parametrize(
    "bad", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")], [1.0, -2.0], [1.0, 0.0]], ids=str
)
def test_samples_that_are_no_times_are_refused(bad):
    with pytest.raises(ValueError, match=r"samples|positive"):
        compare_distributions(bad, FIRST)
    with pytest.raises(ValueError, match=r"samples|positive"):
        compare_distributions(FIRST, bad)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_a_confidence_outside_its_range_is_refused(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_ci(FIRST, confidence=confidence)
