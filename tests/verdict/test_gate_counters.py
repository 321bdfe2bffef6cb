"""Counters against the clock: they may keep a candidate from passing, and never make it pass."""

from dataclasses import replace

import pytest

from gate.records import Evaluation, Outcome, Policy, Profile, Status, Trace
from gate.report.profile import profile_lines
from gate.verdict.gate_counters import counter_flags
from gate.verdict.judge import judge
from tests.support import examples
from tests.support.examples import IMPL
from tests.support.profiles import LARGE, kernel, profile

GATED_MS = 0.050


def evaluation(*profiles: Profile, gated_ms=GATED_MS, traces=()) -> Evaluation:
    """A candidate that takes 50 µs beside a baseline of 62.5, with these profiles."""
    trial = examples.trial(0.8, baseline_ms=gated_ms / 0.8, noise=0.0005)
    return Evaluation(LARGE, examples.correctness(), None, trial, traces, examples.witness(trial), profiles)


def seen(*profiles, **changes):
    return [(flag.name, flag.contradicts) for flag in counter_flags(evaluation(*profiles, **changes), 0.5)]


def run(policy=None, *profiles, **changes):
    measured = examples.measurement(evaluations=(evaluation(*profiles, **changes),), workloads=(LARGE,))
    return judge(measured, policy or Policy())


def gate(run):
    return next((each for each in run.verdict.gates if each.name == "counters"), None)


def test_nothing_is_odd_about_an_honest_candidate():
    assert seen(profile()) == []


def test_a_kernel_that_is_counted_far_longer_than_it_is_timed_contradicts_the_clock():
    slow = profile(kernel(duration_ns=90_000.0))
    assert seen(slow) == [("duration", True)]
    judged = run(None, slow)
    assert (judged.verdict.outcome, gate(judged).outcome) == (Outcome.UNDECIDED, Outcome.UNDECIDED)
    assert "+80%" in gate(judged).evidence
    assert "kernel-gate profile" in judged.verdict.next_step


@pytest.mark.parametrize("us", [60, 40, 20.5])
def test_a_difference_that_may_be_explained_is_told_and_does_not_decide(us):
    odd = profile(kernel(duration_ns=us * 1e3))
    assert seen(odd) == [("duration", False)]
    judged = run(None, odd)
    assert judged.verdict.outcome is Outcome.PASS
    assert any("by counters" in warning for warning in judged.verdict.warnings)


def test_several_kernels_from_cold_caches_may_be_counted_longer():
    several = profile(kernel(duration_ns=50_000.0), kernel(duration_ns=50_000.0))
    assert seen(several) == [("duration", False)]
    assert "each of the 2 kernels with a cold cache" in run(None, several).verdict.warnings[0]


def test_durations_within_a_twentieth_agree():
    assert seen(profile(kernel(duration_ns=52_000.0))) == []


def test_short_calls_are_not_compared():
    assert seen(profile(kernel(duration_ns=15_000.0)), gated_ms=0.008) == []


def test_a_kernel_that_does_not_read_its_inputs_does_no_work():
    idle = profile(kernel(dram_sectors_read=1000.0))
    assert seen(idle) == [("no work", True)]
    assert "inputs have 50.33 MB" in gate(run(None, idle)).evidence


def test_a_kernel_without_instructions_does_no_work():
    assert ("no work", True) in seen(profile(kernel(instructions=0.0)))


def test_claimed_tensor_cores_must_be_active():
    scalar = kernel(tensor_instructions=0.0, tensor_pct=0.0)
    assert seen(profile(scalar, claims_tensor_cores=True)) == [("no tensor cores", False)]
    assert seen(profile(scalar)) == []
    assert seen(profile(kernel(without=("tensor_instructions",)), claims_tensor_cores=True)) == []


@pytest.mark.parametrize(
    "name",
    [
        "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128>>(pytorch_flash::Flash_fwd_params)",
        "fmha_cutlassF_f16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<cutlass::half_t>::Params)",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128",
    ],
)
def test_sdpas_own_kernels_under_a_candidates_name_contradict_it(name):
    judged = run(None, profile(kernel(name)))
    assert gate(judged).outcome is Outcome.UNDECIDED
    assert "SDPA's kernel" in gate(judged).evidence


def test_a_kernel_that_sdpa_was_seen_to_run_is_sdpas():
    theirs = Trace("sdpa:flash", ("some_fused_kernel",))
    assert seen(profile(kernel("some_fused_kernel")), traces=(theirs,)) == [("SDPA's kernels", True)]


def test_a_name_like_sdpas_is_told_and_does_not_decide():
    own = profile(kernel("void my::flash_fwd_kernel<64>(float *)"))
    assert seen(own) == [("SDPA's kernels", False)]
    assert run(None, own).verdict.outcome is Outcome.PASS


def test_what_was_not_measured_is_not_odd():
    absent = Profile(IMPL, Status.ENVIRONMENT, "no ncu; install it")
    assert seen(absent) == []
    assert seen() == []
    without = profile(kernel(without=("duration_ns", "dram_sectors_read", "instructions")))
    assert seen(without) == []


def test_without_counters_the_gate_goes_on():
    judged = run(None, Profile(IMPL, Status.ENVIRONMENT, "no ncu; install it"))
    assert (judged.verdict.outcome, gate(judged)) == (Outcome.PASS, None)
    assert any("not measured: no ncu; install it" in line for line in profile_lines(judged))


@pytest.mark.parametrize("profiles", [(), (Profile(IMPL, Status.CRASHED, "it gave up on a kernel; try again"),)])
def test_required_counters_that_are_absent_make_the_machine_unfit(profiles):
    judged = run(Policy(require_profile=True), *profiles)
    assert (judged.verdict.outcome, judged.verdict.exit_code) == (Outcome.ENVIRONMENT, 69)
    assert "counters are required" in gate(judged).evidence


def test_required_counters_that_are_there_are_enough():
    judged = run(Policy(require_profile=True), profile())
    assert (judged.verdict.outcome, gate(judged).outcome) == (Outcome.PASS, Outcome.PASS)


def test_counters_make_nothing_pass():
    trial = examples.trial(1.2, baseline_ms=0.05)
    slow = replace(evaluation(profile(kernel(duration_ns=60_000.0))), trial=trial)
    measured = examples.measurement(evaluations=(slow,), workloads=(LARGE,))
    assert judge(measured, Policy()).verdict.outcome is Outcome.REJECTED


def test_the_section_says_what_was_counted_beside_the_clock():
    lines = profile_lines(run(None, profile(), replace(profile(), implementation="sdpa:flash")))
    assert any("honest: It computes" in line for line in lines)
    assert any("0.05 ms by counters, 0.0499" in line for line in lines)
