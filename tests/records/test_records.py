import dataclasses
import math

import pytest

from gate.records import (
    EXIT_CODES,
    Build,
    Correctness,
    Estimate,
    Evaluation,
    Gate,
    Measurement,
    Outcome,
    Policy,
    Replicate,
    Status,
    Trial,
    Verdict,
    Workload,
)
from tests.support import examples

ARMS = examples.trial().arms
NONSENSE = {
    "a workload without a batch": lambda: Workload(0, 8, 512, 64),
    "a workload of a negative length": lambda: Workload(1, 8, -1, 64),
    "a workload of an unknown dtype": lambda: Workload(1, 8, 512, 64, "float64"),
    "a build that ended as incorrect": lambda: Build("x", Status.INCORRECT, "wrong"),
    "a failed build with a library": lambda: Build("x", Status.BUILD_FAILED, "error", library="/x.so"),
    "a failed build without a reason": lambda: Build("x", Status.BUILD_FAILED),
    "a check that ended as build_failed": lambda: Correctness(Status.BUILD_FAILED, "error"),
    "a check that is ok and ran nothing": lambda: Correctness(Status.OK, sdpa_max_abs_err=0.0),
    "a check that is ok in spite of a failed one": lambda: dataclasses.replace(
        examples.incorrect(), status=Status.OK, sdpa_max_abs_err=0.0
    ),
    "a check that is ok without SDPA's error": lambda: examples.correctness(sdpa_max_abs_err=None),
    "a failed check without a reason": lambda: Correctness(Status.CRASHED),
    "an incorrect answer with no failed check": lambda: examples.correctness(status=Status.INCORRECT, message="off"),
    "a replicate without rounds": lambda: Replicate(1, (), ("a",), 0.1, 0),
    "a time that is NaN": lambda: examples.replicate({"a": [math.nan]}),
    "a time that is infinite": lambda: examples.replicate({"a": [math.inf]}),
    "a negative time": lambda: examples.replicate({"a": [-1.0]}),
    "an arm that was created twice": lambda: examples.replicate({"a": [1.0]}, creation_order=("a", "a")),
    "a round that misses an arm": lambda: Replicate(1, ((1.0, 2.0), (1.0,)), ("a", "b"), 0.1, 0),
    "a trial without arms": lambda: Trial(Status.CRASHED, (), "clock", 0, "gone"),
    "a trial with two arms of one name": lambda: examples.trial(arms=(*ARMS, ARMS[0])),
    "a replicate with other arms than its trial's": lambda: examples.trial(arms=ARMS[:2]),
    "a trial that is ok without replicates": lambda: examples.trial(replicates=0, status=Status.OK),
    "a trial that failed without a reason": lambda: examples.trial(status=Status.CRASHED),
    "medians that are not the samples'": lambda: examples.trial(median_ms={arm.name: 1.0 for arm in ARMS}),
    "medians that miss an arm": lambda: examples.trial(median_ms={"candidate": 1.0}),
    "a failed check with a trial": lambda: examples.evaluation(correctness=examples.incorrect()),
    "a measurement of nothing": lambda: examples.measurement(workloads=()),
    "a candidate without a build": lambda: examples.measurement(build=None),
    "a build of no candidate": lambda: examples.measurement(impl=None),
    "an evaluation of what was not built": lambda: examples.measurement(
        build=examples.build(status=Status.BUILD_FAILED, message="error", library=None)
    ),
    "a build of another candidate": lambda: examples.measurement(build=examples.build(impl="other")),
    "a trial of another candidate": lambda: examples.measurement(
        examples.evaluation(trial=examples.trial(impl="other"))
    ),
    "a candidate in a trial of nobody's": lambda: examples.sdpa_measurement(evaluations=(examples.evaluation(),)),
    "an evaluation that nobody asked for": lambda: examples.measurement(workloads=(examples.workload(seq_len=8),)),
    "a device that is neither CPU nor GPU": lambda: examples.environment(device="tpu"),
    "a workload beyond any memory": lambda: Workload(1, 8, 2**31, 64),
    "a time that no clock reads": lambda: examples.replicate({"a": [1e-10]}),
    "a time of years": lambda: examples.replicate({"a": [1e11]}),
    "more launches than anybody counts": lambda: dataclasses.replace(
        examples.witness(examples.trial()), launches=10**19
    ),
    "a look before the first replicate": lambda: examples.trial(interim_replicates=(-5, 6)),
    "one workload evaluated twice": lambda: examples.measurement(examples.evaluation(), examples.evaluation()),
    "an alpha of 0": lambda: Policy(alpha=0),
    "an alpha of 1": lambda: Policy(alpha=1),
    "an alpha that is NaN": lambda: Policy(alpha=math.nan),
    "a control_alpha of 0": lambda: Policy(control_alpha=0),
    "a speedup threshold over 1": lambda: Policy(speedup=1.05),
    "a speedup threshold of 0": lambda: Policy(speedup=0),
    "an interval from one replicate": lambda: Policy(min_replicates=1),
    "a ratio of 0": lambda: Estimate(point=0.0, low=None, high=None, confidence=0.95, replicates=6),
    "a ratio that is NaN": lambda: Estimate(point=math.nan, low=None, high=None, confidence=0.95, replicates=6),
    "an interval with one end": lambda: Estimate(point=1.0, low=0.9, high=None, confidence=0.95, replicates=6),
    "a verdict on no gate": lambda: Verdict(Outcome.PASS, "reason", "next step", ()),
    "a verdict against its gates": lambda: Verdict(
        Outcome.PASS, "reason", "next step", (Gate("correctness", None, Outcome.REJECTED, "off"),)
    ),
}


@pytest.mark.parametrize("make", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_cannot_be_built(make):
    with pytest.raises(ValueError, match=r"\w"):
        make()


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        examples.run().verdict.outcome = Outcome.PASS


def test_a_workload_reads_as_it_is_written_on_the_command_line():
    assert str(Workload(1, 8, 512, 64)) == "1,8,512,64 float16"
    assert str(Workload(1, 8, 512, 64, "float32", causal=True)) == "1,8,512,64 float32 causal"


def test_a_workload_counts_two_products_of_every_pair():
    assert Workload(2, 3, 5, 7).flops == 2 * (2 * 2 * 3 * 5 * 5 * 7)


def test_a_causal_workload_counts_each_pair_up_to_the_diagonal():
    assert Workload(1, 1, 3, 1, causal=True).flops == 4 * (1 + 2 + 3)


def test_a_workload_moves_q_k_v_and_the_output_once():
    assert Workload(2, 3, 5, 7, "float32").bytes == 4 * (2 * 3 * 5 * 7) * 4
    assert Workload(2, 3, 5, 7, "bfloat16").bytes == 4 * (2 * 3 * 5 * 7) * 2


def test_a_trial_computes_its_medians_from_all_samples():
    rounds = [
        examples.replicate({"a": [1.0, 9.0], "b": [5.0, 5.0]}),
        examples.replicate({"a": [2.0, 2.5], "b": [7.0, 5.0]}, 1),
    ]
    arms = tuple(dataclasses.replace(ARMS[0], name=name) for name in "ab")
    assert Trial(Status.OK, arms, "clock", 0, replicates=tuple(rounds)).median_ms == {"a": 2.25, "b": 5.0}


def test_a_trial_gives_an_arms_samples_in_the_order_taken():
    taken = [
        examples.replicate({"a": [3.0, 1.0], "b": [4.0, 2.0]}),
        examples.replicate({"a": [5.0, 7.0], "b": [6.0, 8.0]}, 1),
    ]
    arms = tuple(dataclasses.replace(ARMS[0], name=name) for name in "ab")
    trial = Trial(Status.OK, arms, "clock", 0, replicates=tuple(taken))
    assert trial.samples("a") == [[3.0, 1.0], [5.0, 7.0]]
    assert trial.samples("b") == [[4.0, 2.0], [6.0, 8.0]]


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (examples.replicate({"a": [1.0, 2.0]}, 1), "the same number of rounds"),
        (examples.replicate({"a": [1.0]}, 0), "counted twice"),
    ],
    ids=["ragged", "twice"],
)
def test_replicates_of_a_trial_are_alike_and_different(second, complaint):
    arms = (dataclasses.replace(ARMS[0], name="a"),)
    with pytest.raises(ValueError, match=complaint):
        Trial(Status.OK, arms, "clock", 0, replicates=(examples.replicate({"a": [3.0]}, 0), second))


def test_a_trial_that_failed_keeps_the_replicates_before_it():
    trial = examples.trial(replicates=3, status=Status.CRASHED, message="ended by SIGSEGV")
    assert len(trial.replicates) == 3
    assert trial.median_ms["candidate"] > 0


def test_a_trial_knows_its_arms():
    trial = examples.trial()
    assert trial.has("candidate", "baseline")
    assert not trial.has("candidate", "flash")
    assert trial.implementation("candidate") == examples.IMPL


@pytest.mark.parametrize("worst", list(Outcome))
def test_a_verdict_is_the_worst_of_its_gates(worst):
    gates = tuple(Gate("gate", None, outcome, "seen") for outcome in Outcome)[list(Outcome).index(worst) :]
    assert Verdict(worst, "reason", "next step", gates).exit_code == EXIT_CODES[worst]


def test_exit_codes_are_the_documented_ones():
    assert {outcome.value: code for outcome, code in EXIT_CODES.items()} == {
        "pass": 0,
        "rejected": 1,
        "undecided": 2,
        "failed": 3,
        "environment": 69,
    }


def test_an_evaluation_may_stop_at_any_stage():
    assert Evaluation(examples.workload()).trial is None
    assert Evaluation(examples.workload(), examples.incorrect()).trial is None


def test_a_measurement_of_sdpa_has_no_candidate():
    assert isinstance(examples.sdpa_measurement(), Measurement)
    assert examples.sdpa_measurement().impl is None
