"""What follows from counters, and every sentence that rests on them."""

from dataclasses import replace

import pytest

from gate.analysis.advice import STEPS
from gate.analysis.conditions import Subject
from gate.analysis.derived import Bound, derive
from gate.analysis.explanation import EXPLANATION_RULES, paragraph, sentences
from gate.records import Ceilings
from tests.support.profiles import H200, LARGE, SMALL, derived, kernel, profile, recorded, subject

RULE = {rule.name: rule for rule in EXPLANATION_RULES}
STEP = {rule.name: rule for rule in STEPS}


def test_counters_of_several_kernels_add_up():
    one = kernel(duration_ns=10_000.0, tensor_pct=10.0, registers=255.0, blocks=8.0)
    other = kernel(duration_ns=30_000.0, tensor_pct=50.0, registers=64.0, blocks=9.0)
    both = derived(one, other)
    assert both.total("duration_ns") == 40_000
    assert both.total("instructions") == 2e6
    assert both.total("tensor_pct") == pytest.approx(40)  # by time
    assert both.total("registers") == 64  # of the longest
    assert both.duration_ms == pytest.approx(0.04)


def test_a_sum_that_lacks_a_kernel_is_not_measured():
    assert derived(kernel(), kernel(without=("tensor_pct",))).total("tensor_pct") is None


def test_speeds_of_a_recorded_call():
    seen = derive(recorded(2), LARGE, H200, None)
    assert seen.flops_per_s == pytest.approx(4 * 32 * 8 * 512**2 * 64 / 69.856e-6)
    assert seen.bytes_per_s == pytest.approx(857.8e9, rel=1e-3)  # ncu's own dram__bytes.sum.per_second
    assert seen.intensity == pytest.approx(LARGE.flops / (32 * (1_575_184 + 297_408)))
    assert (seen.bound, seen.limiter) == (Bound.LATENCY, "registers")
    assert seen.stalls[0] == ("fixed latency", pytest.approx(1.09 / 3.94, rel=0.01))


def test_the_roofline_is_the_lower_of_two_ceilings():
    seen = derive(profile(), LARGE, H200, None)
    assert seen.theoretical.flops_at(1.0) == seen.theoretical.bytes_per_s
    assert seen.theoretical.flops_at(1e6) == seen.theoretical.flops_per_s


def test_measured_ceilings_go_before_theoretical_ones():
    seen = derive(profile(), LARGE, H200, Ceilings(4e12, {"float16": 7e14}))
    assert seen.roofline_share == pytest.approx(seen.flops_per_s / min(7e14, 4e12 * seen.intensity))


def test_less_than_a_byte_of_traffic_has_no_intensity():
    assert derived(kernel(dram_sectors_read=1e-300, dram_sectors_write=0.0)).intensity is None
    other = derive(profile(), LARGE, H200, Ceilings(4e12, {"bfloat16": 7e14}))
    assert other.roof is other.theoretical


def test_without_ceilings_there_is_no_roofline():
    assert derive(profile(), LARGE, None, None).roofline_share is None


@pytest.mark.parametrize(
    ("counters", "bound"),
    [
        ({"sm_pct": 45.0, "memory_pct": 37.0, "tensor_pct": 38.0}, Bound.LATENCY),
        ({"sm_pct": 45.0, "memory_pct": 37.0, "tensor_pct": 70.0}, Bound.COMPUTE),
        ({"sm_pct": 80.0, "memory_pct": 70.0, "tensor_pct": 0.0}, Bound.COMPUTE),
        ({"sm_pct": 65.0, "memory_pct": 90.0, "tensor_pct": 0.0}, Bound.MEMORY),
        ({"sm_pct": 1.0, "memory_pct": 1.0, "tensor_pct": 0.0, "duration_ns": 3_900.0}, Bound.LAUNCH),
    ],
)
def test_what_bounds_a_call(counters, bound):
    assert derived(kernel(**counters)).bound is bound


@pytest.mark.parametrize("absent", ["duration_ns", "sm_pct", "memory_pct"])
def test_nothing_bounds_what_was_not_measured(absent):
    assert derived(kernel(without=(absent,))).bound is None


HOLDS = {
    "pace": ({}, "TFLOP/s at"),
    "launch": ({"duration_ns": 3_000.0}, "1 kernel in 3.0 µs"),
    "compute": ({"sm_pct": 85.0}, "multiprocessors are at 85%"),
    "memory": ({"memory_pct": 88.0, "dram_pct": 88.0}, "at 88% of its peak; DRAM"),
    "latency": ({"sm_pct": 41.0, "memory_pct": 29.0}, "arithmetic (41% of peak) nor memory (29%)"),
    "tail": ({"waves": 0.48, "blocks": 128.0}, "128 blocks fill only 0.48"),
    "no tensor cores": ({"tensor_pct": 0.0}, "No instruction ran on the tensor cores"),
    "occupancy": ({"occupancy_pct": 12.0, "occupancy_limit_pct": 12.5, "limit: registers": 2.0, "registers": 255.0},
                  "registers (255 per thread) would allow 12%"),
    "stall": ({"stall: barrier": 4.0}, "of a warp: barrier (70%)"),
    "bank conflicts": ({"shared_conflicts": 3e5}, "30% of shared memory's wavefronts"),
    "uncoalesced": ({"global_sectors_ideal": 2.5e5}, "75% of the sectors"),
    "spills": ({"local_instructions": 2e4}, "2.0% of its instructions"),
    "traffic": ({"dram_sectors_read": 8e6}, "times the bytes that the workload needs"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLDS)
def test_a_sentence_is_said_where_its_rule_holds_and_names_its_numbers(name):
    counters, words = HOLDS[name]
    said = subject(kernel(**counters))
    assert RULE[name].holds(said)
    assert words in RULE[name].sentence(said)
    assert "nan" not in paragraph(said)


@pytest.mark.parametrize("name", [name for name in HOLDS if name not in ("pace", "latency", "stall")])
def test_a_sentence_is_not_said_of_a_kernel_that_has_nothing_of_it(name):
    assert not RULE[name].holds(subject())


@pytest.mark.parametrize("name", [*RULE])
def test_nothing_is_said_of_what_was_not_measured(name):
    nothing = subject(kernel(without=tuple(kernel().counters)))
    assert not RULE[name].holds(nothing)


@pytest.mark.parametrize("absent", [*kernel().counters])
def test_no_sentence_names_a_counter_that_is_absent(absent):
    for counters, _ in HOLDS.values():
        assert "nan" not in paragraph(subject(kernel(**counters, without=(absent,))))


def test_several_kernels_are_told_apart():
    said = subject(kernel(duration_ns=90_000.0), kernel(duration_ns=10_000.0))
    assert "launches 2 kernels; the longest takes 90%" in paragraph(said)


def test_a_call_is_held_against_the_baseline():
    other = replace(derived(), profile=profile(impl="sdpa:cudnn"))
    said = paragraph(subject(kernel(duration_ns=100_000.0, instructions=3e6), baseline=other))
    assert "2.00 times as long as those of sdpa:cudnn, with 3.00 times the instructions" in said


def test_every_rule_has_a_test():
    assert set(RULE) == {*HOLDS, "several kernels", "baseline"}


ADVICE = {
    "fuse": {"duration_ns": 3_000.0},
    "tensor cores": {"tensor_pct": 0.0},
    "split": {"waves": 0.5},
    "one pass": {"memory_pct": 90.0, "dram_sectors_read": 8e6},
    "bank conflicts": {"shared_conflicts": 5e5},
    "coalescing": {"global_sectors_ideal": 2e5},
    "spills": {"local_instructions": 5e4},
    "barriers": {"stall: barrier": 3.0},
    "prefetch": {"stall: global memory": 3.0},
    "shared memory": {"stall: shared memory queue": 3.0},
    "overlap": {"stall: arithmetic pipe": 3.0},
    "parallelism": {"occupancy_pct": 12.0},
    "arithmetic": {"sm_pct": 90.0},
    "bytes": {"memory_pct": 90.0},
    "look": {},
}


@pytest.mark.parametrize("name", ADVICE)
def test_the_next_step_is_the_first_whose_rule_holds(name):
    said = subject(kernel(**ADVICE[name]))
    assert next(rule.name for rule in STEPS if rule.holds(said)) == name
    assert sentences(said)[-1] == f"Most promising next step: {STEP[name].sentence(said)}."


def test_every_step_has_a_test():
    assert set(STEP) == set(ADVICE)


def test_a_recorded_call_in_words():
    said = paragraph(Subject(derive(recorded(0), SMALL, H200, None)))
    assert "39.6 TFLOP/s at 141 flops per byte" in said
    assert "128 blocks fill only 0.48 of one wave" in said
    assert "launches 2 kernels" in said
    assert "keys split over blocks" in said
