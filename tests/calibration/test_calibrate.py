"""The decision rules over recorded trials: ours keeps its promises, and the others' are what their sources say."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gate.calibration.calibrate import calibrate, load_recorded, pooled
from gate.calibration.intervals import ReplayDesign, interval_rules
from gate.calibration.rival_rules import (
    DECISION_RULES,
    asv,
    criterion,
    disjoint_intervals,
    mann_whitney,
    median_ratio,
    welch,
)
from gate.errors import BadInputError

pytestmark = pytest.mark.xdist_group("calibration")  # one replay serves many

RECORDING = Path(__file__).parents[2] / "baselines/nvidia-h200/calibration/h200_replicates.npz"
RNG = np.random.default_rng(12)


def silent(label, done, total):
    pass


def replayed(draws, rules):
    """The rows of these interval rules on every recorded key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gate.calibration.calibrate.DECISION_RULES", ())
        patch.setattr("gate.calibration.calibrate.interval_rules", lambda plan: interval_rules(plan)[rules])
        return list(calibrate(load_recorded(RECORDING), ReplayDesign(draws=draws), silent))


@pytest.fixture(scope="module")
def ours():
    """Our own two rules, at the draws that the promise is made for."""
    return replayed(2_000, slice(2))


@pytest.fixture(scope="module")
def bootstraps():
    """The two that were weighed against them, which take hundreds of times as long a draw."""
    return replayed(100, slice(2, None))


def rows_named(rows, start):
    return [row for row in rows if row.rule.startswith(start)]


@pytest.mark.parametrize("rule", ["Kernel Gate, 10 replicates", "Kernel Gate, stopping"])
def test_equal_kernels_are_called_different_in_at_most_5_percent_of_recorded_trials(ours, rule):
    rows = rows_named(ours, rule)
    assert len(rows) == 6
    assert pooled(rows)[0].false_alarm <= 0.05
    assert max(row.false_alarm for row in rows) <= 0.065


def test_a_percentile_bootstrap_of_ten_replicates_would_not_keep_that_promise(bootstraps):
    assert pooled(rows_named(bootstraps, "bootstrap of replicates"))[0].false_alarm > 0.08


def test_true_differences_are_found(ours):
    fixed = {row.key: row.power for row in rows_named(ours, "Kernel Gate, 10 replicates")}
    for key, power in fixed.items():
        small, sign = ("1%", 0.99) if key.startswith("b32") else ("3%", 0.95)
        assert min(power[f"+{small}"], power[f"-{small}"]) >= sign, key
        assert power["cudnn"] == power["flash_slow"] == 1.0


def test_the_price_of_stopping_early_is_a_bounded_width(ours, bootstraps):
    fixed, studentised = rows_named(ours, "Kernel Gate, 10"), rows_named(bootstraps, "bootstrap-t")
    for mine, other in zip(fixed, studentised, strict=True):
        assert mine.width <= 1.5 * other.width
        assert 0.93 <= mine.coverage <= 0.99


def recording(tmp_path, **content):
    path = tmp_path / "trials.npz"
    np.savez(path, **content)
    return path


def test_any_file_of_the_layout_is_read(tmp_path):
    times = RNG.lognormal(0, 0.01, (12, 8, 3)).astype(np.float32)
    path = recording(tmp_path, arms=np.array(["mine", "mine_again", "empty"]), b1_graph=times)
    rows = list(calibrate(load_recorded(path), ReplayDesign(draws=20, interim_replicates=(5, 10)), silent))
    assert {row.key for row in rows} == {"b1_graph"}
    assert {rule.name for rule in DECISION_RULES} < {row.rule for row in rows}


def test_blocks_of_one_process_are_no_replicates(tmp_path):
    path = recording(tmp_path, b1_graph=RNG.lognormal(0, 0.01, (5, 30)))
    first, *others = calibrate(load_recorded(path), ReplayDesign(), silent)
    assert (first.rule, first.false_alarm, set(first.power.values())) == ("Kernel Gate", 0.0, {0.0})
    assert all(row.draws == 10 for row in others)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({}, "no trials"),
        ({"b1": np.ones((3, 4, 2))}, "not (replicates, rounds, arms)"),
        ({"b1": np.ones(5)}, "not (replicates, rounds, arms)"),
        ({"b1": np.full((3, 4), np.nan)}, "not positive and finite"),
        ({"b1": np.full((3, 4), -1.0)}, "not positive and finite"),
        ({"b1": np.ones((3, 4), dtype=int)}, "not (replicates, rounds, arms)"),
    ],
    ids=str,
)
def test_a_file_of_another_layout_is_refused(tmp_path, content, complaint):
    with pytest.raises(BadInputError, match=re.escape(complaint)):
        load_recorded(recording(tmp_path, **content))


def test_what_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "trials.npz"
    with pytest.raises(BadInputError, match="No such file"):
        load_recorded(path)
    for content in ("not an archive", ""):
        path.write_text(content)
        with pytest.raises(BadInputError, match=r"is not an \.npz file of recorded trials"):
            load_recorded(path)


def test_a_recording_without_a_control_or_with_too_few_replicates_is_refused(tmp_path):
    alone = recording(tmp_path, arms=np.array(["a", "b"]), b1=np.ones((30, 4, 2)))
    with pytest.raises(BadInputError, match="no arm has a control"):
        list(calibrate(load_recorded(alone), ReplayDesign(), silent))
    few = recording(tmp_path, arms=np.array(["a", "a_again"]), b1=np.ones((10, 4, 2)))
    with pytest.raises(BadInputError, match="10 replicates, but the plan draws 20"):
        list(calibrate(load_recorded(few), ReplayDesign(), silent))


@pytest.mark.parametrize(
    "wrong",
    [
        {"draws": 0}, {"draws": 10**18}, {"replicates": 1}, {"replicates": 10**9}, {"alpha": 0.0}, {"alpha": 1.0},
        {"alpha": float("nan")}, {"interim_replicates": (5, 5)}, {"seed": -1}, {"seed": 2**64},
    ],
    ids=str,
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused_by_the_name_of_what_is_wrong(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        ReplayDesign(**wrong)


BASELINE = RNG.lognormal(0, 0.02, (50, 200))


@pytest.mark.parametrize("rule", DECISION_RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize(("scale", "decision"), [(1.25, 1), (0.8, -1)])
def test_every_rule_sees_a_large_difference_and_its_direction(rule, scale, decision):
    assert (rule.decide(BASELINE, RNG.permuted(BASELINE, axis=-1) * scale) == decision).all()


@pytest.mark.parametrize("rule", DECISION_RULES, ids=lambda rule: rule.name)
def test_no_rule_tells_samples_from_themselves(rule):
    assert (rule.decide(BASELINE, BASELINE) == 0).all()


def test_the_tests_among_the_rules_are_scipys():
    other = RNG.lognormal(0.005, 0.02, (50, 180))
    welchs = [stats.ttest_ind(b, a, equal_var=False).pvalue < 0.05 for a, b in zip(BASELINE, other, strict=True)]
    ranks = [
        stats.mannwhitneyu(b, a, method="asymptotic").pvalue < 0.05 for a, b in zip(BASELINE, other, strict=True)
    ]
    assert (np.abs(welch(BASELINE, other)) == welchs).all()
    assert (np.abs(mann_whitney(BASELINE, other)) == ranks).all()


def test_the_bootstrap_among_the_rules_is_scipys():
    mine, other = BASELINE[0], BASELINE[1] * 1.004
    ends = [
        stats.bootstrap((x,), np.median, method="percentile", rng=np.random.default_rng(1)).confidence_interval
        for x in (mine, other)
    ]
    assert disjoint_intervals(mine[None], other[None])[0] == int(ends[1].low > ends[0].high)


def test_rules_with_a_dead_zone_are_blind_within_it():
    nearly = RNG.permuted(BASELINE, axis=-1) * 1.04
    assert (median_ratio(BASELINE, nearly) == 0).all()
    assert (asv(BASELINE, nearly) == 0).all()
    assert (criterion(BASELINE, RNG.permuted(BASELINE, axis=-1) * 1.005) == 0).all()
