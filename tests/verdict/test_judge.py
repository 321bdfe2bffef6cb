"""Verdicts from evidence: which gate decides, and how."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gate.analysis.comparison import compare, is_clear, join
from gate.records import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Arm,
    Build,
    ClockPair,
    Correctness,
    Evaluation,
    GpuState,
    KernelResources,
    Outcome,
    Policy,
    Replicate,
    ResourceLimits,
    Status,
    Telemetry,
    Trace,
    Trial,
    Witness,
)
from gate.records.gpu import COUNTERS
from gate.stats.interval import detectable_difference
from gate.storage import write_record
from gate.verdict.evidence_file import load_evidence
from gate.verdict.gate_correctness import CHECKS
from gate.verdict.judge import judge, measurement_outcome
from tests.support import examples
from tests.support.profiles import H200


def verdict(*evaluations, policy=None, **changes):
    return judge(examples.measurement(*evaluations, **changes), policy or Policy()).verdict


def timed(ratio, **changes):
    return examples.evaluation(trial=examples.trial(ratio, **changes))


def gate_named(seen, name):
    return next(gate for gate in seen.gates if gate.name == name)


def test_passes_a_correct_kernel_that_is_faster_beyond_doubt():
    seen = verdict(timed(0.8))
    assert (seen.outcome, seen.exit_code) == (Outcome.PASS, 0)
    assert "1.25" in seen.reason


def test_rejects_a_kernel_that_is_slower_beyond_doubt():
    seen = verdict(timed(1.5))
    assert (seen.outcome, seen.exit_code) == (Outcome.REJECTED, 1)
    assert seen.reason.startswith("honest at 1,2,64,32 float32, speedup: ratio 1.")


def test_rejects_a_kernel_that_is_faster_but_not_by_enough():
    seen = verdict(timed(0.97))
    assert gate_named(seen, "speedup").outcome is Outcome.REJECTED
    assert gate_named(seen, "confidence interval").outcome is Outcome.PASS


def test_undecided_when_the_interval_straddles_the_threshold():
    seen = verdict(timed(0.985, noise=0.05))
    assert (seen.outcome, seen.exit_code) == (Outcome.UNDECIDED, 2)


def test_undecided_when_the_point_is_fast_enough_and_the_interval_reaches_1():
    seen = verdict(timed(0.93, noise=0.15))
    assert gate_named(seen, "speedup").outcome is Outcome.PASS
    assert gate_named(seen, "confidence interval").outcome is Outcome.UNDECIDED
    assert seen.outcome is Outcome.UNDECIDED


def test_strict_asks_the_whole_interval_to_be_under_the_threshold():
    evidence = timed(0.945, noise=0.01)
    assert verdict(evidence).outcome is Outcome.PASS
    assert verdict(evidence, policy=Policy(strict=True)).outcome is Outcome.UNDECIDED
    assert verdict(timed(0.8), policy=Policy(strict=True)).outcome is Outcome.PASS


@pytest.mark.parametrize("replicates", [1, 2, 4])
def test_too_few_replicates_are_undecided_however_fast_the_kernel(replicates):
    seen = verdict(timed(0.1, replicates=replicates))
    assert seen.outcome is Outcome.UNDECIDED
    assert f"{replicates} replicates; an interval needs at least 5" in seen.reason


def test_replicates_that_do_not_differ_at_all_are_no_measurement():
    seen = verdict(timed(0.5, noise=0.0))
    assert seen.outcome is Outcome.UNDECIDED
    assert "replicates are identical" in seen.reason


def test_a_baseline_that_differs_from_itself_makes_the_machine_unfit_for_every_workload():
    other = examples.workload(seq_len=128)
    fired, quiet = timed(0.5, control=1.05), replace(timed(0.5, seed=3), workload=other)
    seen = verdict(fired, quiet)
    assert seen.outcome is Outcome.UNDECIDED
    assert [gate.outcome for gate in seen.gates if gate.name == "control"] == [Outcome.UNDECIDED] * 2
    assert not any(gate.name == "speedup" for gate in seen.gates)


def test_a_difference_of_the_baseline_to_itself_that_does_not_matter_raises_no_alarm():
    assert verdict(timed(0.5, control=1.002, noise=0.0002)).outcome is Outcome.PASS
    assert verdict(timed(0.5, control=1.004, noise=0.0002)).outcome is Outcome.UNDECIDED


def test_a_slow_kernel_on_an_unfit_machine_is_undecided():
    assert verdict(timed(18.0, control=1.05)).outcome is Outcome.UNDECIDED


def test_an_incorrect_kernel_is_rejected_and_never_timed():
    seen = verdict(Evaluation(examples.workload(), examples.incorrect()))
    assert (seen.outcome, [gate.name for gate in seen.gates]) == (Outcome.REJECTED, ["correctness"])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.CRASHED, Outcome.FAILED),
        (Status.TIMED_OUT, Outcome.FAILED),
        (Status.OUT_OF_MEMORY, Outcome.FAILED),
        (Status.UNSUPPORTED, Outcome.REJECTED),
        (Status.ENVIRONMENT, Outcome.ENVIRONMENT),
    ],
)
def test_what_ends_a_check_decides_the_verdict(status, outcome):
    evidence = Evaluation(examples.workload(), Correctness(status, "it ended"))
    assert verdict(evidence).outcome is outcome
    assert measurement_outcome(examples.measurement(evidence)) is outcome


@pytest.mark.parametrize(
    ("status", "outcome"), [(Status.INCORRECT, Outcome.REJECTED), (Status.CRASHED, Outcome.FAILED)]
)
def test_what_goes_wrong_while_timing_decides_too(status, outcome):
    broken = examples.trial(0.1, status=status, message="round 7: off by 3")
    seen = verdict(examples.evaluation(trial=broken))
    assert seen.outcome is outcome
    assert "during timing: round 7" in seen.reason


def test_a_build_that_failed_is_shown_and_nothing_else():
    failed = Build(examples.IMPL, Status.BUILD_FAILED, "kernel.cpp:3: error: expected ';'")
    seen = verdict(evaluations=(), build=failed)
    assert (seen.outcome, seen.exit_code) == (Outcome.FAILED, 3)
    assert "kernel.cpp:3" in seen.reason


GREEDY = KernelResources("attend<64>", "8.9", 255, 0, 12, 12, 24, threads=128)
LEAN = replace(GREEDY, registers=128, spill_store_bytes=0, spill_load_bytes=0, stack_bytes=0, occupancy=None)
LIMITED = Policy(resources=ResourceLimits(max_registers=168, max_spill_bytes=0))


def compiled(*resources):
    return examples.build(architectures=("8.9",), resources=resources)


def test_a_kernel_that_takes_more_than_the_policy_allows_is_rejected_before_it_is_judged():
    seen = verdict(timed(0.8), policy=LIMITED, build=compiled(LEAN, GREEDY))
    assert (seen.outcome, seen.exit_code) == (Outcome.REJECTED, 1)
    assert [gate.name for gate in seen.gates] == ["resources"]
    assert "attend<64> takes 255 registers on 8.9, and may take 168 (and 1 more)" in seen.reason
    assert "kernel-gate build" in seen.next_step


def test_a_kernel_that_keeps_to_its_limits_is_judged_on():
    seen = verdict(timed(0.8), policy=LIMITED, build=compiled(LEAN, LEAN))
    assert seen.outcome is Outcome.PASS
    assert gate_named(seen, "resources").outcome is Outcome.PASS


def test_without_limits_a_kernel_takes_what_it_likes():
    seen = verdict(timed(0.8), build=compiled(GREEDY))
    assert seen.outcome is Outcome.PASS
    assert "resources" not in [gate.name for gate in seen.gates]


def test_a_limit_on_what_the_compiler_did_not_report_is_undecided():
    assert verdict(timed(0.8), policy=LIMITED, build=compiled()).outcome is Outcome.UNDECIDED


def test_limits_are_for_cuda_candidates():
    assert verdict(timed(0.8), policy=LIMITED).outcome is Outcome.PASS


def test_a_run_under_limits_is_read_again(tmp_path):
    run = examples.run(examples.measurement(timed(0.8), build=compiled(LEAN)), LIMITED)
    write_record(tmp_path / "run.json", run)
    assert load_evidence(tmp_path / "run.json") == run


def test_a_workload_that_was_asked_for_and_not_measured_is_undecided():
    missing = examples.workload(seq_len=2048)
    seen = verdict(workloads=(examples.workload(), missing))
    assert seen.outcome is Outcome.UNDECIDED
    assert str(missing) in seen.reason


def test_a_kernel_that_was_checked_and_not_timed_does_not_pass():
    assert verdict(examples.evaluation(trial=None)).outcome is Outcome.UNDECIDED


def test_evidence_without_a_check_does_not_pass():
    assert verdict(examples.evaluation(correctness=None)).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_left_something_out_does_not_pass(name):
    left = tuple(each for each in examples.correctness().checks if each.name != name)
    seen = verdict(examples.evaluation(correctness=examples.correctness(checks=left)))
    assert seen.outcome is Outcome.UNDECIDED
    assert f"correctness: missing from the evidence: {name}" in seen.reason


@pytest.mark.parametrize(
    ("error", "outcome"), [(2.4e-6, Outcome.PASS), (2.5e-6, Outcome.REJECTED), (5.0, Outcome.REJECTED)]
)
def test_an_error_that_no_check_can_have_passed_is_rejected(error, outcome):
    seen = verdict(examples.evaluation(correctness=examples.correctness(max_abs_err=error, sdpa_max_abs_err=1e-6)))
    assert gate_named(seen, "correctness").outcome is seen.outcome is outcome


def test_sdpa_alone_is_no_candidate():
    assert judge(examples.sdpa_measurement(), Policy()).verdict.outcome is Outcome.UNDECIDED


def test_a_baseline_that_another_backend_beats_is_no_baseline():
    slow_flash = examples.sdpa_trial({"flash": 2.0, "math": 1.0})
    seen = verdict(examples.evaluation(sdpa=slow_flash))
    assert gate_named(seen, "baseline").outcome is Outcome.UNDECIDED
    assert "sdpa:math is faster" in seen.reason
    assert verdict(examples.evaluation(sdpa=examples.sdpa_trial())).outcome is Outcome.PASS


def test_every_workload_must_pass():
    slow = replace(timed(1.2, seed=3), workload=examples.workload(seq_len=128))
    seen = verdict(timed(0.5), slow)
    assert seen.outcome is Outcome.REJECTED
    assert "1,2,128,32" in seen.reason


def test_what_failed_outweighs_what_was_rejected_and_that_what_is_undecided():
    crashed = Evaluation(examples.workload(seq_len=8), Correctness(Status.CRASHED, "SIGSEGV"))
    slow = replace(timed(1.2), workload=examples.workload(seq_len=128))
    doubtful = replace(timed(0.985, noise=0.05), workload=examples.workload(seq_len=256))
    assert verdict(doubtful, slow).outcome is Outcome.REJECTED
    assert verdict(doubtful, slow, crashed).outcome is Outcome.FAILED


def candidate_alone(ratio):
    both = examples.trial(ratio)
    keep = [index for index, arm in enumerate(both.arms) if arm.name in (CANDIDATE, EMPTY)]
    replicates = tuple(
        Replicate(each.seed, tuple(tuple(row[i] for i in keep) for row in each.times_ms), (CANDIDATE, EMPTY), 1.0, 1)
        for each in both.replicates
    )
    return Trial(Status.OK, (Arm(CANDIDATE, "honest"), Arm(EMPTY, "empty")), "clock", 2, replicates=replicates)


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(0.7, Outcome.PASS), (1.3, Outcome.REJECTED), (0.949, Outcome.UNDECIDED)]
)
def test_evidence_that_was_not_interleaved_is_judged_with_a_wider_interval_and_says_so(ratio, outcome):
    evidence = examples.evaluation(trial=candidate_alone(ratio), sdpa=examples.sdpa_trial())
    strict = Policy(strict=outcome is Outcome.UNDECIDED)
    seen = verdict(evidence, policy=strict)
    assert seen.outcome is outcome
    assert any("weaker evidence" in warning for warning in seen.warnings)
    apart, paired = (compare(each, Policy()).ratio for each in (evidence, timed(ratio)))
    assert apart.high / apart.low > 2 * (paired.high / paired.low - 1) + 1


def test_a_candidate_18_times_slower_is_clear_after_the_first_look():
    slow = compare(timed(18.0, replicates=5, interim_replicates=(5, 10, 20)), Policy())
    assert is_clear(slow, Policy())


@pytest.mark.parametrize(("ratio", "clear"), [(0.5, True), (0.94, False), (0.95, False), (1.0, True)])
def test_a_trial_stops_early_only_where_the_whole_interval_is_on_one_side_of_the_threshold(ratio, clear):
    seen = compare(timed(ratio, replicates=5, noise=0.01, interim_replicates=(5, 10, 20)), Policy())
    assert is_clear(seen, Policy()) is clear


def test_nothing_is_clear_without_an_interval():
    assert not is_clear(None, Policy())
    assert not is_clear(compare(timed(0.1, replicates=2), Policy()), Policy())


def test_a_trial_that_could_have_stopped_early_has_a_wider_interval_than_a_fixed_one():
    fixed, looked = (
        compare(timed(0.8, replicates=10, interim_replicates=looks), Policy()).ratio for looks in ((), (5, 10, 20))
    )
    assert fixed.confidence == 0.95
    assert looked.confidence == pytest.approx(1 - 0.0125)
    assert looked.low < fixed.low < fixed.high < looked.high


def test_evidence_that_was_not_interleaved_pays_for_early_looks_too():
    alone = examples.evaluation(
        trial=replace(candidate_alone(0.8), interim_replicates=(3, 6)), sdpa=examples.sdpa_trial()
    )
    assert compare(alone, Policy()).ratio.confidence == pytest.approx(1 - 0.025)


def test_evidence_that_was_not_interleaved_could_see_what_its_own_degrees_of_freedom_allow():
    apart = compare(examples.evaluation(trial=candidate_alone(0.8), sdpa=examples.sdpa_trial()), Policy())
    assert apart.detectable_difference > detectable_difference(apart.ratio)  # which would have the replicates' alone


def test_the_same_evidence_gives_the_same_run():
    assert judge(examples.measurement(), Policy()) == judge(examples.measurement(), Policy())


def test_a_trial_of_other_arms_is_no_comparison():
    odd = Trial(
        Status.OK, (Arm(BASELINE, "sdpa:flash"),), "clock", 0,
        replicates=(Replicate(1, ((1.0,),), (BASELINE,), 1.0, 1),),
    )  # fmt: skip
    assert verdict(examples.evaluation(trial=odd)).outcome is Outcome.UNDECIDED


UNSURE = Outcome.UNDECIDED
QUIET = examples.gpu_state()
CALM = Telemetry(QUIET, QUIET)
HOT = Telemetry(QUIET, examples.gpu_state(throttle_reasons=("hw_thermal_slowdown",)))
CROWDED = Telemetry(QUIET, examples.gpu_state(foreign_processes=1))


def with_replicates(ratio, **changes):
    """A trial of which every replicate has these changes."""
    taken = examples.trial(ratio)
    return examples.evaluation(
        trial=replace(taken, replicates=tuple(replace(each, **changes) for each in taken.replicates))
    )


def test_a_gpu_that_nothing_disturbed_can_be_judged_on():
    seen = verdict(with_replicates(0.8, telemetry=CALM))
    assert (seen.outcome, gate_named(seen, "machine").outcome) == (Outcome.PASS, Outcome.PASS)


@pytest.mark.parametrize(("telemetry", "words"), [(HOT, "throttled"), (CROWDED, "other processes")])
def test_a_gpu_that_was_disturbed_gives_no_verdict_on_speed(telemetry, words):
    seen = verdict(with_replicates(0.1, telemetry=telemetry))
    assert seen.outcome is Outcome.UNDECIDED
    assert words in seen.reason


BLIND = {"throttled_ns": {}, **{name: None for name in COUNTERS if name != "throttled_ns"}}
"""A look at a GPU whose driver tells nothing."""


def machine_of(telemetry, policy=None, gpu=H200):
    """The machine gate over replicates that were watched so."""
    watched = with_replicates(0.8, telemetry=telemetry)
    seen = verdict(watched, policy=policy, environment=examples.environment(gpu=gpu))
    return gate_named(seen, "machine"), seen


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", COUNTERS)
def test_a_counter_that_was_not_read_is_named_and_undecided_unless_the_policy_accepts_it(name, when):
    gap = replace(CALM, **{when: replace(QUIET, **{name: BLIND[name]})})
    refused, seen = machine_of(gap)
    assert (refused.outcome, seen.outcome) == (Outcome.UNDECIDED, Outcome.UNDECIDED)
    assert f"the driver does not report {name}" in refused.evidence
    assert "accept_unmeasured" in seen.next_step
    accepted, seen = machine_of(gap, Policy(accept_unmeasured=(name,)))
    assert (accepted.outcome, seen.outcome) == (Outcome.PASS, Outcome.PASS)
    assert accepted.evidence.endswith(f"not measured, accepted by the policy: {name}")
    assert "no disturbance" not in refused.evidence + accepted.evidence


def test_of_a_gpu_that_tells_nothing_nobody_says_that_nothing_disturbed_it():
    blind = GpuState(**BLIND)
    gate, seen = machine_of(Telemetry(blind, blind))
    assert seen.outcome is Outcome.UNDECIDED
    assert all(name in gate.evidence for name in COUNTERS)
    assert "nothing" not in gate.evidence


def test_what_the_policy_accepts_excuses_no_disturbance():
    blind = replace(HOT, before=replace(QUIET, power_w=None))
    gate, seen = machine_of(blind, Policy(accept_unmeasured=COUNTERS))
    assert seen.outcome is Outcome.UNDECIDED
    assert gate.evidence.startswith("throttled (hw_thermal_slowdown)")


@pytest.mark.parametrize("ecc", [False, None])
def test_a_gpu_without_ecc_has_no_such_errors_to_count(ecc):
    uncounted = replace(QUIET, ecc_errors=None)
    gate, _ = machine_of(Telemetry(uncounted, uncounted), gpu=replace(H200, ecc=ecc))
    assert gate.outcome is Outcome.PASS


def test_a_policy_accepts_only_counters_that_there_are():
    with pytest.raises(ValueError, match=r"accept_unmeasured names temperature; the counters are throttle_reasons"):
        Policy(accept_unmeasured=("temperature",))


@pytest.mark.parametrize(
    ("clock", "reasons", "warned"),
    [(900, (), True), (900, ("sw_power_cap",), False), (900, None, False), (1590, (), False), (None, (), False)],
)
def test_a_slow_clock_for_which_the_driver_gives_no_reason_is_a_warning(clock, reasons, warned):
    slow = Telemetry(QUIET, examples.gpu_state(sm_clock_mhz=clock, throttle_reasons=reasons))
    _, seen = machine_of(slow, Policy(accept_unmeasured=COUNTERS))
    assert seen.outcome is Outcome.PASS
    assert any("of 1980 MHz" in each and "reports no throttle reason" in each for each in seen.warnings) is warned


def test_a_clock_that_is_slow_throughout_is_held_against_the_gpus_highest():
    slow = examples.gpu_state(sm_clock_mhz=900)
    for gpu, warned in ((H200, True), (replace(H200, sm_clock_max_mhz=None), False), (None, False)):
        _, seen = machine_of(Telemetry(slow, slow), gpu=gpu)
        assert any("reports no throttle reason" in each for each in seen.warnings) is warned


@pytest.mark.parametrize(("host_ms", "outcome"), [(5.05, Outcome.PASS), (5.6, UNSURE), (4.4, Outcome.UNDECIDED)])
def test_clocks_that_disagree_give_no_verdict_on_speed(host_ms, outcome):
    pairs = {BASELINE: ClockPair(5.0, 5.02, 100), CANDIDATE: ClockPair(5.0, host_ms, 100)}
    seen = verdict(with_replicates(0.8, clocks=pairs))
    assert seen.outcome is outcome
    assert gate_named(seen, "clocks").outcome is outcome


@pytest.mark.parametrize(("baseline_ms", "outcome"), [(0.075, Outcome.PASS), (0.0005, Outcome.REJECTED)])
def test_a_time_that_the_device_cannot_reach_is_rejected(baseline_ms, outcome):
    large = examples.workload(batch=32, heads=8, seq_len=512, head_dim=64, dtype="float16")
    evidence = replace(examples.evaluation(trial=examples.trial(0.8, baseline_ms=baseline_ms)), workload=large)
    seen = verdict(evidence, environment=examples.environment(gpu=H200))
    assert seen.outcome is outcome
    assert gate_named(seen, "physical floor").outcome is outcome


def without(part, **changes):
    """A whole measurement on a GPU, but for this."""
    if part == "environment":
        return replace(examples.gpu_measurement(), environment=examples.environment(device="cuda", **changes))
    whole = examples.gpu_evaluation()
    if part == "replicate":
        first, *others = whole.trial.replicates
        changes = {"trial": replace(whole.trial, replicates=(replace(first, **changes), *others))}
    return examples.gpu_measurement(replace(whole, **changes))


ONE_CLOCK = {BASELINE: ClockPair(5.0, 5.02, 66)}
OTHERS = tuple(each for each in examples.gpu_evaluation().traces if each.implementation != examples.IMPL)
INCOMPLETE = {
    "a GPU": without("environment", gpu=None),
    "a GPU whose peaks are known": without(
        "environment", gpu=replace(H200, compute_capability="99.0", memory_bus_bits=None)
    ),
    "telemetry of every replicate": without("replicate", telemetry=None),
    "clocks of every replicate": without("replicate", clocks={}),
    "the candidate's clocks": without("replicate", clocks=ONE_CLOCK),
    "any trace": without("evaluation", traces=()),
    "the candidate's trace": without("evaluation", traces=OTHERS),
}


@pytest.mark.parametrize("measurement", INCOMPLETE.values(), ids=INCOMPLETE)
def test_evidence_from_a_gpu_does_not_pass_without(measurement):
    seen = judge(measurement, Policy()).verdict
    assert seen.outcome is Outcome.UNDECIDED
    assert "completeness: missing from the evidence" in seen.reason


def test_whole_evidence_from_a_gpu_passes_every_gate():
    seen = judge(examples.gpu_measurement(baseline="best"), Policy()).verdict
    assert seen.outcome is Outcome.PASS
    believed = ["provenance", "physical floor", "machine", "clocks", "witness"]
    assert [gate.name for gate in seen.gates] == [
        "correctness",
        *believed,
        "control",
        "baseline",
        "speedup",
        "confidence interval",
    ]


def test_a_candidate_that_the_profiler_could_not_look_into_is_judged_all_the_same():
    unseen = (*OTHERS, Trace(examples.IMPL, refusal="the profiler saw nothing"))
    seen = judge(examples.gpu_measurement(examples.gpu_evaluation(traces=unseen)), Policy()).verdict
    assert seen.outcome is Outcome.PASS


def test_arms_that_were_launched_directly_are_named_in_a_warning():
    seen = verdict(with_replicates(0.8, uncaptured=(CANDIDATE,)))
    assert any("candidate was launched directly" in warning for warning in seen.warnings)


def with_arms(ratio, **implementations):
    """A trial in which other implementations play these arms."""
    taken = examples.trial(ratio)
    arms = tuple(replace(arm, implementation=implementations.get(arm.name, arm.implementation)) for arm in taken.arms)
    return examples.evaluation(trial=replace(taken, arms=arms))


def test_a_baseline_that_is_not_sdpa_is_no_baseline():
    seen = verdict(with_arms(0.5, baseline="my_slow_kernel"))
    assert seen.outcome is Outcome.UNDECIDED
    assert "my_slow_kernel is not an SDPA backend" in seen.reason


@pytest.mark.parametrize("name", ["sdpa:nosuch", "flash", "sdpa:"])
def test_a_baseline_that_only_sounds_like_sdpa_is_no_baseline(name):
    assert f"{name} is not an SDPA backend" in verdict(with_arms(0.5, baseline=name)).reason


@pytest.mark.parametrize("wanted", ["math", "best"])
def test_a_candidate_that_beat_another_backend_than_was_asked_for_does_not_pass(wanted):
    seen = verdict(timed(0.8), baseline=wanted)
    assert gate_named(seen, "baseline").outcome is seen.outcome is Outcome.UNDECIDED
    assert "sdpa:flash" in seen.reason


def test_a_candidate_that_beat_the_backend_that_was_asked_for_passes():
    assert verdict(timed(0.8), baseline="flash").outcome is Outcome.PASS
    assert verdict(examples.evaluation(sdpa=examples.sdpa_trial()), baseline="best").outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("sdpa", "words"),
    [
        (examples.sdpa_trial({"flash": 1.0}), "neither timed nor refused: math"),
        (examples.sdpa_trial({"flash": 1.05, "math": 0.99}, noise=0.02, replicates=2), "sdpa:math is faster"),
        (
            examples.sdpa_trial(status=Status.CRASHED, message="gone"),
            "no measurement shows that sdpa:flash is the fastest",
        ),
    ],
)
def test_the_best_backend_is_the_fastest_of_all_that_the_device_has(sdpa, words):
    seen = verdict(examples.evaluation(sdpa=sdpa), baseline="best")
    assert seen.outcome is Outcome.UNDECIDED
    assert words in seen.reason


def test_a_backend_that_cannot_compute_the_workload_need_not_be_timed():
    alone = examples.evaluation(
        sdpa=examples.sdpa_trial({"flash": 1.0}), traces=(Trace("sdpa:math", refusal="too large"),)
    )
    seen = verdict(alone, baseline="best")
    assert seen.outcome is Outcome.PASS
    assert gate_named(seen, "baseline").evidence == "sdpa:flash; no other SDPA backend was timed"


def test_evidence_that_was_not_interleaved_does_not_beat_what_was_asked_for():
    apart = examples.evaluation(trial=candidate_alone(0.5), sdpa=examples.sdpa_trial())
    seen = verdict(apart, baseline="best")
    assert seen.outcome is Outcome.UNDECIDED
    assert "not timed in one trial" in seen.reason


def test_what_is_not_known_beyond_doubt_is_shown_with_its_interval():
    seen = verdict(examples.evaluation(sdpa=examples.sdpa_trial(replicates=2)))
    assert re.search(
        r"closest is sdpa:math: ratio 2\.\d+ \[1\.\d+, 2\.\d+\] over 2 replicates",
        gate_named(seen, "baseline").evidence,
    )
    assert "A/A ratio 0.998 [" in gate_named(seen, "control").evidence


def test_a_file_of_sdpas_own_times_counts_instead_of_what_was_seen_beside_the_candidate():
    own = examples.measurement(examples.evaluation(sdpa=examples.sdpa_trial()))
    slow_flash = Evaluation(examples.workload(), sdpa=examples.sdpa_trial({"flash": 2.0, "math": 1.0}))
    assert judge(own, Policy()).verdict.outcome is Outcome.PASS
    joined = join(own, examples.sdpa_measurement(evaluations=(slow_flash,)))
    assert "sdpa:math is faster" in judge(joined, Policy()).verdict.reason


def test_a_file_of_sdpas_own_times_brings_along_what_its_backends_ran():
    seen = (Trace("sdpa:math", refusal="too large"), Trace(examples.IMPL, ("not theirs to say",)))
    theirs = Evaluation(examples.workload(), sdpa=examples.sdpa_trial({"flash": 1.0}), traces=seen)
    own = examples.measurement(replace(examples.evaluation(), traces=(Trace(examples.IMPL, (OWN,)),)))
    (joined,) = join(own, examples.sdpa_measurement(evaluations=(theirs,))).evaluations
    assert joined.traces == (Trace(examples.IMPL, (OWN,)), seen[0])


def test_a_trial_without_its_control_gives_no_verdict_on_speed():
    taken = examples.trial(0.5)
    keep = [index for index, arm in enumerate(taken.arms) if arm.name != BASELINE_AGAIN]
    replicates = tuple(
        replace(
            each,
            times_ms=tuple(tuple(row[index] for index in keep) for row in each.times_ms),
            creation_order=tuple(arm for arm in each.creation_order if arm != BASELINE_AGAIN),
        )
        for each in taken.replicates
    )
    arms = tuple(taken.arms[index] for index in keep)
    seen = verdict(examples.evaluation(trial=replace(taken, arms=arms, replicates=replicates, median_ms={})))
    assert seen.outcome is Outcome.UNDECIDED
    assert "no A/A control" in seen.reason


def test_the_strongest_alarm_of_all_is_an_alarm_too():
    evidence = timed(0.5, control=1.1, replicates=300, noise=1e-4)
    assert compare(evidence, Policy()).control.p_value == 0.0
    assert verdict(evidence).outcome is Outcome.UNDECIDED


OWN = "void flash_fwd_kernel<64>(attention_args)"
PYTORCHS = "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4> >(Flash_fwd_params)"
CUDNNS = "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_cga1x1x1_kernel0_0"
EFFICIENTS = (
    "fmha_cutlassF_f16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::half_t>::Params)"
)
GEMM = "sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize128x128x8_stage3_warpsize2x2x1_ffma_execute_kernel__5x_cublas"
COPY, ELEMENTWISE = (
    "Memcpy DtoD (Device -> Device)",
    "void at::native::vectorized_elementwise_kernel<4, at::native::F>(int)",
)


def running(*kernels, beside=()):
    """A candidate that was seen to run these, beside traces of SDPA's."""
    traces = (Trace(examples.IMPL, kernels), *(Trace(f"sdpa:{name}", seen) for name, seen in dict(beside).items()))
    return replace(timed(0.8), traces=traces)


@pytest.mark.parametrize(
    "kernel", [PYTORCHS, CUDNNS, EFFICIENTS, "aten::_scaled_dot_product_flash_attention_for_cpu"]
)
def test_a_candidate_that_runs_sdpas_own_kernel_is_rejected(kernel):
    seen = verdict(running(COPY, kernel))
    assert seen.outcome is Outcome.REJECTED
    assert f"provenance: launches SDPA's kernel {kernel[:40]}" in seen.reason
    assert "cannot be faster than itself" in seen.reason


def test_a_kernel_of_a_fused_backend_that_nobody_has_heard_of_is_known_by_its_trace():
    traced = {"cudnn": ("Memset (Device)", "a_name_of_next_year")}
    assert verdict(running("a_name_of_next_year", beside=traced)).outcome is Outcome.REJECTED
    assert verdict(running("Memset (Device)", beside=traced)).outcome is Outcome.PASS


@pytest.mark.parametrize("kernels", [(), (OWN,), (GEMM, COPY, ELEMENTWISE, "Memset (Device)")])
def test_a_candidate_with_kernels_of_its_own_or_anybodys_is_not_accused(kernels):
    fused = {"flash": (PYTORCHS, ELEMENTWISE), "cudnn": (CUDNNS, "Memset (Device)"), "math": (GEMM, ELEMENTWISE)}
    seen = verdict(running(*kernels, beside=fused))
    assert (seen.outcome, gate_named(seen, "provenance").outcome) == (Outcome.PASS, Outcome.PASS)


def test_a_candidate_that_nobody_could_look_into_is_not_accused():
    unseen = replace(timed(0.8), traces=(Trace(examples.IMPL, refusal="the profiler saw nothing"),))
    assert "provenance" not in [gate.name for gate in verdict(unseen).gates]


@pytest.mark.parametrize(("alone_ms", "outcome"), [(1.0, Outcome.PASS), (0.85, Outcome.PASS), (0.5, UNSURE)])
def test_a_baseline_that_is_slower_beside_the_candidate_than_alone_gives_no_verdict_on_speed(alone_ms, outcome):
    sdpa = examples.sdpa_trial({"flash": alone_ms, "math": 2.0})
    seen = verdict(replace(timed(0.8), sdpa=sdpa))
    assert gate_named(seen, "baseline").outcome is outcome
    assert seen.outcome is outcome
    assert outcome is Outcome.PASS or "sdpa:flash takes 2.00 times as long with the candidate loaded" in seen.reason


RECORDED = Path(__file__).parents[2] / "baselines" / "nvidia-h200" / "candidates"


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_recorded_on_a_gpu_lacks_nothing_that_the_verdict_rests_on(path):
    verdict = judge(load_evidence(path), Policy()).verdict
    assert [each for each in verdict.gates if each.outcome is UNSURE] == []
    passes = path.stem in ("triton_flash", "cublas_math", "wgmma_best", "wgmma_flash")
    assert verdict.outcome is (Outcome.PASS if passes else Outcome.REJECTED)


def test_a_wrong_output_before_the_witness_is_a_rejection_whatever_the_check_says():
    """The check runs in the candidate's process, which may have made its answer up."""
    wrong = Witness(Status.INCORRECT, "round 0, call 0: off by nan, more than 1e-06", 10)
    made_up = examples.correctness()
    forged = replace(made_up, checks=made_up.checks[:1])
    (gate,) = verdict(replace(examples.evaluation(), witness=wrong, correctness=forged)).gates
    assert (gate.name, gate.outcome) == ("witness", Outcome.REJECTED)


@pytest.mark.parametrize("replicates", [1, 2, 4])
def test_with_too_few_replicates_the_next_step_is_to_take_enough(replicates):
    seen = verdict(timed(0.8, replicates=replicates))
    assert seen.outcome is Outcome.UNDECIDED
    assert "`--replicates 5` or more" in seen.next_step
    assert "--replicates" not in verdict(timed(0.95, noise=0.2)).next_step
