"""The deciding interval, against SciPy and against theory."""

import math

import numpy as np
import pytest
from scipy import stats

from gate.stats.interval import (
    detectable_difference,
    log_ratios,
    mean_ratio,
    paired_ratio,
    ratio_digits,
    t_interval,
    unpaired_degrees,
    unpaired_ratio,
    welch_ratio,
)

RNG = np.random.default_rng(7)


def trial(ratio=1.0, replicates=10, rounds=21, spread=0.01):
    """Baseline and candidate, (replicates, rounds) in ms."""
    drift = RNG.normal(0, 0.05, (replicates, rounds))
    process = RNG.normal(0, spread, (replicates, 1))
    baseline = np.exp(drift)
    candidate = ratio * np.exp(drift + process + RNG.normal(0, 0.002, (replicates, rounds)))
    return candidate.tolist(), baseline.tolist()


def test_the_interval_is_scipys_t_interval_on_the_replicates_median_log_ratios():
    candidate, baseline = trial(0.9)
    logs = np.median(np.log(candidate) - np.log(baseline), axis=1)
    expected = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
    estimate = paired_ratio(candidate, baseline, alpha=0.05)
    assert estimate.low == pytest.approx(math.exp(expected.low), rel=1e-8)
    assert estimate.high == pytest.approx(math.exp(expected.high), rel=1e-8)
    assert estimate.p_value == pytest.approx(stats.ttest_1samp(logs, 0.0).pvalue, rel=1e-6)


def test_pairing_removes_what_both_arms_share():
    candidate, baseline = trial(0.9, spread=0.001)
    paired = paired_ratio(candidate, baseline, alpha=0.05)
    assert paired.high - paired.low < 0.01  # the drift within a replicate is 5%


def test_more_rounds_of_the_same_process_do_not_narrow_what_differs_between_processes():
    process = RNG.normal(0, 0.01, (10, 1))
    few, many = (np.exp(np.broadcast_to(process, (10, rounds))) for rounds in (3, 300))
    ends = [mean_ratio(log_ratios(c.tolist(), np.ones_like(c).tolist()), 0.05) for c in (few, many)]
    assert ends[0] == ends[1]


def test_nominal_95_percent_covers_95_percent_of_gaussian_replicates():
    logs = np.random.default_rng(1).normal(0.02, 0.01, (20_000, 10))
    mean, half = t_interval(logs, 0.05)
    coverage = np.mean(np.abs(mean - 0.02) <= half)
    assert coverage == pytest.approx(0.95, abs=0.006)  # four standard errors of the simulation


@pytest.mark.parametrize(
    "distort",
    [
        pytest.param(lambda rng, x: x, id="plain"),
        pytest.param(lambda rng, x: x + np.log(np.where(rng.random(x.shape) < 0.05, 1.5, 1)), id="outlying rounds"),
        pytest.param(lambda rng, x: x + rng.choice([-0.02, 0.02], (*x.shape[:2], 1)), id="two modes"),
    ],
)
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
def test_coverage_holds_with_autocorrelated_rounds_outliers_and_two_modes(rho, distort):
    rng = np.random.default_rng(3)
    draws, replicates, rounds = 2_000, 10, 30
    noise = rng.normal(0, 0.01, (draws, replicates, rounds))
    for index in range(1, rounds):
        noise[:, :, index] = rho * noise[:, :, index - 1] + math.sqrt(1 - rho**2) * noise[:, :, index]
    candidate = distort(rng, noise + rng.normal(0, 0.01, (draws, replicates, 1)))
    logs = np.median(candidate, axis=-1)
    truth = logs.mean()
    mean, half = t_interval(logs, 0.05)
    assert 0.93 <= np.mean(np.abs(mean - truth) <= half) <= 0.99


def test_the_unpaired_interval_is_welchs_where_sessions_do_not_differ():
    candidate, baseline = trial(1.1, replicates=8)
    first, second = (np.log(np.median(side, axis=1)) for side in (candidate, baseline[:6]))
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    estimate = unpaired_ratio(candidate, baseline[:6], alpha=0.05, session_sd=0.0)
    assert estimate.low == pytest.approx(math.exp(expected.low), rel=1e-8)
    assert estimate.high == pytest.approx(math.exp(expected.high), rel=1e-8)


def test_no_number_of_replicates_averages_out_what_differs_between_sessions():
    quiet = np.random.default_rng(5).normal(0, 1e-4, (2, 10_000))
    estimate = welch_ratio(quiet[0], quiet[1], alpha=0.05, session_sd=0.005)
    assert math.log(estimate.high / estimate.low) / 2 > 1.95 * 0.005 * math.sqrt(2)


@pytest.mark.parametrize("replicates", [1, 2, 4])
def test_too_few_replicates_give_a_point_and_no_interval(replicates):
    estimate = paired_ratio(*trial(0.5, replicates=replicates), alpha=0.05, min_replicates=5)
    assert (estimate.low, estimate.high, estimate.p_value) == (None, None, None)
    assert estimate.point == pytest.approx(0.5, rel=0.1)


def test_replicates_without_any_spread_give_no_interval():
    same = [[1.0, 1.0, 1.0]] * 10
    half = [[0.5, 0.5, 0.5]] * 10
    assert paired_ratio(half, same, alpha=0.05).high is None
    assert unpaired_ratio(half, same, alpha=0.05, session_sd=0.005).high is None


def test_arms_of_other_rounds_are_not_paired():
    with pytest.raises(ValueError, match="same rounds"):
        log_ratios([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        log_ratios([[1.0], [1.0]], [[1.0]])


def test_the_smallest_difference_is_found_four_times_in_five():
    rng, sd, count = np.random.default_rng(11), 0.01, 10
    estimate = mean_ratio(rng.normal(0, sd, count), 0.05)
    scale = sd / (math.log(estimate.high / estimate.low) / 2 / stats.t.isf(0.025, count - 1) * math.sqrt(count))
    difference = math.log1p(detectable_difference(estimate)) * scale  # what a trial of exactly this sd would claim
    mean, half = t_interval(rng.normal(difference, sd, (20_000, count)), 0.05)
    assert np.mean(mean - half > 0) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("session_sd", [0.0, 0.01])
def test_the_smallest_difference_across_sessions_is_found_four_times_in_five(session_sd):
    rng, sd, count = np.random.default_rng(13), 0.003, 5
    sides = rng.normal(0, sd, (2, 400, count))
    claims = []
    for pair in sides.transpose(1, 0, 2):
        rounds = [[[math.exp(each)] for each in side] for side in pair]
        estimate = unpaired_ratio(*rounds, alpha=0.05, session_sd=session_sd)
        claims.append(math.log1p(detectable_difference(estimate, unpaired_degrees(*rounds, session_sd))))
    shift, sessions = float(np.mean(claims)), rng.normal(0, max(session_sd, 1e-12), (2, 4_000, 1))
    new, old = rng.normal(0, sd, (2, 4_000, count)) + sessions
    found = [welch_ratio(a + shift, b, 0.05, session_sd).low > 1 for a, b in zip(new, old, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02 if session_sd else 0.05)  # the mean claim is not each claim


def test_nine_digits_hide_the_last_bits_in_which_processors_differ():
    assert ratio_digits(np.nextafter(1.1, 2)) == ratio_digits(1.1) == 1.1
