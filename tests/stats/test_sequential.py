"""Error spending and families of tests."""

import numpy as np
import pytest
from scipy import stats

from gate.stats.interval import t_interval
from gate.stats.multiplicity import holm
from gate.stats.sequential import alpha_at, spending


def test_the_looks_together_spend_alpha_and_no_more():
    assert sum(spending(0.05, (5, 10, 20))) == pytest.approx(0.05)
    assert spending(0.05, (5, 10, 20)) == pytest.approx((0.0125, 0.0125, 0.025))


@pytest.mark.parametrize("looks", [(), (0, 5), (5, 5), (10, 5)])
def test_looks_that_do_not_increase_are_refused(looks):
    with pytest.raises(ValueError, match="increasing"):
        spending(0.05, looks)


@pytest.mark.parametrize(("replicates", "share"), [(5, 0.0125), (7, 0.0125), (10, 0.0125), (20, 0.025), (40, 0.025)])
def test_a_trial_spends_the_share_of_the_look_at_which_it_stopped(replicates, share):
    assert alpha_at(0.05, (5, 10, 20), replicates) == pytest.approx(share)


def test_a_trial_of_fixed_size_spends_all_of_alpha():
    assert alpha_at(0.05, (), 10) == 0.05


def test_stopping_whenever_a_difference_shows_keeps_false_alarms_under_alpha():
    logs = np.random.default_rng(2).normal(0, 0.01, (20_000, 20))
    alarmed = np.zeros(len(logs), dtype=bool)
    for look, share in zip((5, 10, 20), spending(0.05, (5, 10, 20)), strict=True):
        mean, half = t_interval(logs[:, :look], share)
        alarmed |= np.abs(mean) > half
    naive = np.zeros(len(logs), dtype=bool)
    for look in (5, 10, 20):
        mean, half = t_interval(logs[:, :look], 0.05)
        naive |= np.abs(mean) > half
    assert alarmed.mean() <= 0.05
    assert naive.mean() > 0.09


def test_holm_rejects_what_the_textbook_rejects():
    # Holm (1979): ordered p-values against alpha/m, alpha/(m-1), ... until the first that fails.
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == (True, False, False, True)
    assert holm([0.04, 0.011, 0.02], 0.05) == (True, True, True)
    assert holm([], 0.05) == ()


def test_holm_counts_nan_as_no_evidence():
    assert holm([float("nan"), 0.9], 0.05) == (False, False)


def test_holm_holds_the_family_wise_error():
    p_values = stats.uniform.rvs(size=(4_000, 5), random_state=4)
    assert np.mean([any(holm(row, 0.05)) for row in p_values.tolist()]) <= 0.06
