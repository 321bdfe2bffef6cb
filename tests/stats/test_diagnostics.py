"""What looks odd in a trial."""

import numpy as np
import pytest

from gate.stats.diagnostics import autocorrelation, sample_warnings, split_share, split_share_limit, trend_p

RNG = np.random.default_rng(8)
QUIET = RNG.normal(0, 0.01, 20)
ROUNDS = RNG.normal(0, 0.01, (20, 30))


def test_a_quiet_trial_raises_no_flag():
    assert sample_warnings(QUIET, ROUNDS) == ()


@pytest.mark.parametrize(
    ("word", "logs", "rounds"),
    [
        ("trend", np.linspace(0, 0.1, 20) + QUIET, ROUNDS),
        ("autocorrelation", QUIET, np.cumsum(ROUNDS, axis=-1)),
        ("two modes", QUIET + np.tile([0.0, 0.2], 10), ROUNDS),
    ],
)
def test_each_oddity_is_named(word, logs, rounds):
    (flag,) = sample_warnings(logs, rounds)
    assert flag.startswith(word)


def test_flags_are_seldom_raised_on_noise():
    rng = np.random.default_rng(10)
    raised = [sample_warnings(rng.normal(size=10), rng.normal(size=(10, 30))) for _ in range(400)]
    assert np.mean([bool(each) for each in raised]) < 0.05


def test_too_few_replicates_show_no_pattern():
    assert sample_warnings(np.array([0.0, 1.0, 2.0]), ROUNDS[:3]) == ()
    assert sample_warnings(np.zeros(10), ROUNDS[:10]) == ()


def test_the_parts_behave_at_their_edges():
    assert trend_p(np.arange(10.0)) < 1e-6
    assert autocorrelation(np.ones((4, 30))) == 0.0
    assert autocorrelation(np.ones((4, 2))) == 0.0
    assert split_share(np.array([0.0, 0, 0, 1, 1, 1])) == pytest.approx(1.0)
    assert split_share_limit(20) < split_share_limit(10) < 1
