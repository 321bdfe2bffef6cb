"""A new measurement against a recorded one."""

from dataclasses import replace

import pytest

from gate.errors import BadInputError, UnfitEnvironmentError
from gate.records import Evaluation, Policy, Telemetry
from gate.verdict.gate_trust import refuse_disturbed
from gate.verdict.regression import Answer, changes, overall
from tests.support import examples


def measured(ratio, seed=5, **changes):
    return examples.measurement(examples.evaluation(trial=examples.trial(ratio, 10, seed=seed, **changes)))


RECORDED = measured(0.8, seed=1)


@pytest.mark.parametrize(
    ("ratio", "answer"),
    [
        (0.8, Answer.MAINTAINED),
        (0.8 * 1.10, Answer.REGRESSED),
        (0.8 * 1.03, Answer.UNDECIDED),
        (0.8 * 0.95, Answer.MAINTAINED),
        (0.8 * 0.90, Answer.UNDECIDED),
        (0.8 * 0.80, Answer.IMPROVED),
    ],
)
def test_the_answer_is_where_the_whole_interval_lies(ratio, answer):
    (seen,) = changes(measured(ratio), RECORDED, Policy())
    assert seen.answer is answer
    assert "relative to sdpa:flash" in seen.subject


def test_a_driver_that_speeds_up_sdpa_and_candidate_alike_changes_nothing():
    (seen,) = changes(measured(0.8, baseline_ms=0.5), RECORDED, Policy())
    assert seen.answer is Answer.MAINTAINED


def test_an_improvement_needs_a_large_enough_effect():
    (seen,) = changes(measured(0.5), RECORDED, Policy(cliffs_delta=0.999, improvement=0.1))
    assert seen.answer is Answer.IMPROVED  # every pair is faster: |delta| is 1
    noisy = measured(0.8 * 0.8, noise=0.3)
    assert changes(noisy, measured(0.8, noise=0.3, seed=1), Policy())[0].answer is Answer.UNDECIDED


def test_too_few_replicates_are_undecided():
    few = examples.measurement(examples.evaluation(trial=examples.trial(2.0, 3)))
    assert changes(few, RECORDED, Policy())[0].answer is Answer.UNDECIDED


def test_a_recorded_workload_that_is_missing_now_is_undecided():
    elsewhere = examples.measurement(replace(examples.evaluation(), workload=examples.workload(seq_len=8)))
    (seen,) = changes(elsewhere, RECORDED, Policy())
    assert (seen.answer, seen.workload) == (Answer.UNDECIDED, examples.workload())


def test_a_kernel_that_became_incorrect_is_never_maintained():
    broken = examples.measurement(Evaluation(examples.workload(), examples.incorrect()))
    assert changes(broken, RECORDED, Policy())[0].answer is Answer.UNDECIDED


def test_ratios_to_different_backends_are_not_compared():
    (seen,) = changes(measured(0.8, baseline="sdpa:math"), RECORDED, Policy())
    assert seen.answer is Answer.UNDECIDED
    assert "recorded against sdpa:flash" in seen.evidence


def test_other_devices_are_not_compared():
    elsewhere = replace(RECORDED, environment=examples.environment(device_name="Another"))
    with pytest.raises(BadInputError, match="not comparable"):
        changes(elsewhere, RECORDED, Policy())


def test_other_candidates_are_not_compared():
    other = examples.measurement(impl="other", build=examples.build(impl="other"))
    with pytest.raises(BadInputError, match="cannot compare candidate honest with candidate other"):
        changes(RECORDED, other, Policy())


def sdpa(seed, **medians_ms):
    trial = examples.sdpa_trial(medians_ms, 10, seed=seed)
    return examples.sdpa_measurement(evaluations=(Evaluation(examples.workload(), sdpa=trial),))


@pytest.mark.parametrize(
    ("flash_ms", "answer"),
    [(1.0, Answer.MAINTAINED), (1.2, Answer.REGRESSED), (1.035, Answer.UNDECIDED)],  # half a percent is a session's
)
def test_times_of_sdpa_itself_are_compared_across_sessions_with_more_doubt(flash_ms, answer):
    flash, _ = changes(sdpa(3, flash=flash_ms, math=2.0), sdpa(4, flash=1.0, math=2.0), Policy())
    assert flash.answer is answer
    assert "across sessions" in flash.subject


def test_every_recorded_backend_is_compared_and_not_the_fastest_alone():
    seen = changes(sdpa(3, flash=1.0, math=3.0), sdpa(4, flash=1.0, math=2.0), Policy())
    assert [each.answer for each in seen] == [Answer.MAINTAINED, Answer.REGRESSED]
    assert "sdpa:math" in seen[1].subject


def test_a_recorded_backend_that_is_gone_is_undecided():
    _, gone = changes(sdpa(3, flash=1.0), sdpa(4, flash=1.0, cudnn=0.9), Policy())
    assert gone.answer is Answer.UNDECIDED
    assert "cudnn" in gone.evidence


def test_one_alarm_among_many_workloads_must_stand_up_to_holm():
    def many(ratios, seed):
        return examples.measurement(
            *(
                Evaluation(
                    examples.workload(seq_len=8 + i),
                    examples.correctness(),
                    None,
                    examples.trial(r, 5, seed=seed + i),
                )
                for i, r in enumerate(ratios)
            )
        )

    policy = Policy(ratio_session_sd=0.003)
    recorded = many([1.0] * 12, 50)
    borderline = 1.040
    alone = many([borderline], 80)
    assert changes(alone, many([1.0], 50), policy)[0].answer is Answer.REGRESSED
    among = changes(many([borderline] + [1.0] * 11, 80), recorded, policy)
    assert among[0].answer is Answer.UNDECIDED
    assert overall(among) is Answer.UNDECIDED


def test_one_regression_outweighs_all_improvements():
    improved, regressed = measured(0.5), measured(1.5)
    seen = changes(improved, RECORDED, Policy()) + changes(regressed, RECORDED, Policy())
    assert overall(seen) is Answer.REGRESSED
    assert overall(()) is Answer.UNDECIDED


def test_sdpas_own_times_never_stand_for_a_candidate_that_was_not_timed():
    not_timed = examples.measurement(examples.evaluation(trial=None, sdpa=examples.sdpa_trial(replicates=10)))
    recorded = examples.sdpa_measurement(
        evaluations=(Evaluation(examples.workload(), sdpa=examples.sdpa_trial(replicates=10, seed=4)),)
    )
    (seen,) = changes(not_timed, recorded, Policy())
    assert (seen.answer, seen.evidence) == (Answer.UNDECIDED, "not timed in both measurements")


def test_a_machine_whose_baseline_differs_from_itself_gives_no_answer():
    (seen,) = changes(measured(0.5, control=1.05), RECORDED, Policy())
    assert seen.answer is Answer.UNDECIDED
    assert "differs from itself" in seen.evidence


def test_a_trial_that_its_witness_contradicts_gives_no_answer():
    trial = examples.trial(0.5, 10)
    honest = examples.trial(0.8, 10)
    lie = examples.measurement(examples.evaluation(trial=trial, witness=examples.witness(honest)))
    (seen,) = changes(lie, RECORDED, Policy())
    assert seen.answer is Answer.UNDECIDED
    assert seen.evidence.startswith("witness: ")


def test_a_candidate_that_seems_unchanged_and_is_seen_to_be_slower_gives_no_answer():
    slow = examples.witness(examples.trial(9.0, 10))
    lie = examples.measurement(examples.evaluation(trial=examples.trial(1.2, 10), witness=slow))
    (seen,) = changes(lie, measured(1.2, seed=1), Policy())
    assert seen.answer is Answer.UNDECIDED
    assert "contradicts the trial: independent clock: ratio " in seen.evidence
    assert "trial: ratio" in seen.evidence


HOT = Telemetry(examples.gpu_state(), examples.gpu_state(throttle_reasons=("hw_thermal_slowdown",)))


def throttled(measurement):
    """The same, from a GPU that was too hot."""
    (seen,) = measurement.evaluations
    name = "sdpa" if seen.trial is None else "trial"
    trial = getattr(seen, name)
    hot = replace(trial, replicates=tuple(replace(each, telemetry=HOT) for each in trial.replicates))
    return replace(measurement, evaluations=(replace(seen, **{name: hot}),))


SPOILED = {
    "a throttled candidate": (measured(0.5), throttled(RECORDED)),
    "a throttled SDPA": (sdpa(3, flash=0.5), throttled(sdpa(4, flash=1.0))),
    "a baseline that differed from itself": (measured(0.5), measured(0.8, seed=1, control=1.05)),
}


@pytest.mark.parametrize(("quiet", "spoiled"), SPOILED.values(), ids=SPOILED)
def test_nothing_improved_on_a_record_that_cannot_be_believed_nor_on_such_a_measurement(quiet, spoiled):
    for new, recorded in ((quiet, spoiled), (spoiled, quiet)):
        (seen,) = changes(new, recorded, Policy())
        assert seen.answer is Answer.UNDECIDED
        assert seen.evidence.startswith("the recorded measurement is not reliable: ") is (recorded is spoiled)


def test_a_machine_that_was_disturbed_is_not_recorded():
    refuse_disturbed(sdpa(4, flash=1.0), Policy())
    with pytest.raises(UnfitEnvironmentError, match=r"1,2,64,32 float32: throttled .*kernel-gate doctor"):
        refuse_disturbed(throttled(sdpa(4, flash=1.0)), Policy())
