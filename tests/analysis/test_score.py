"""The fitness of a measured candidate, term by term."""

import json
from dataclasses import replace

import pytest

from gate.analysis.score import score
from gate.records import Evaluation, Gpu, KernelResources, Profile, Status
from gate.storage import write_record
from tests.support import examples
from tests.support.profiles import LARGE, kernel, machine_code, profile

GPU = Gpu("NVIDIA H200", "0" * 16, "9.0")
RESOURCES = KernelResources("attend", "9.0", registers=128, shared_bytes=0, spill_store_bytes=40, spill_load_bytes=60,
                            stack_bytes=100)  # fmt: skip


def measurement(*profiles, resources=(RESOURCES,), gpu=GPU, **changes):
    evaluation = Evaluation(LARGE, examples.correctness(), None, examples.trial(0.8, noise=0.0), profiles=profiles)
    build = examples.build(resources=resources)
    environment = examples.environment(gpu=gpu)
    return examples.measurement(
        evaluations=(replace(evaluation, **changes),), workloads=(LARGE,), build=build, environment=environment
    )


def scored(*profiles, **changes):
    measured = measurement(*profiles, **changes)
    return score(measured, measured.evaluations[0])


def points(*profiles, **changes):
    return {term.name: term.points for term in scored(*profiles, **changes).terms}


WHOLE = profile(kernel(tensor_pct=40.0, sm_pct=55.0, registers=128.0), machine_code=(machine_code(HMMA=4, BAR=2),))


def test_every_term_of_a_whole_measurement():
    assert points(WHOLE) == {
        "speed": pytest.approx(1250),
        "tensor": 80.0,
        "SM busy": 55.0,
        "barriers": -10.0,  # 2 a tile
        "registers": pytest.approx(-9.6),  # 128 over the 32 of full occupancy
        "spills": -10.0,  # 100 bytes
    }


def test_the_score_is_the_sum_of_its_terms():
    whole = scored(WHOLE)
    assert whole.complete
    assert whole.total == pytest.approx(1250 + 80 + 55 - 10 - 9.6 - 10)


def test_what_was_not_measured_makes_a_score_partial_and_counts_nothing():
    partial = scored(Profile("honest", Status.ENVIRONMENT, "no ncu; install it"))
    assert not partial.complete
    assert partial.total == pytest.approx(1250)
    assert {term.evidence for term in partial.terms if term.name == "tensor"} == {"no ncu; install it"}


def test_without_a_profile_the_term_says_how_to_get_it():
    assert {term.evidence for term in scored().terms if term.name == "tensor"} == {"not measured; measure with --ncu"}


def test_a_counter_that_one_kernel_lacks_is_not_measured():
    lacking = profile(kernel(), kernel(without=("tensor_pct",)))
    assert points(lacking)["tensor"] is None


def test_registers_and_spills_are_those_of_the_longest_kernel():
    other = replace(RESOURCES, kernel="combine", spill_store_bytes=0, spill_load_bytes=0, occupancy=None)
    both = profile(kernel("combine", duration_ns=1e6, registers=32.0), kernel("attend", duration_ns=1.0))
    seen = points(both, resources=(RESOURCES, other))
    assert (seen["registers"], seen["spills"]) == (0, 0)


def test_a_kernel_that_fits_pays_nothing_for_registers():
    assert points(profile(kernel(registers=24.0)))["registers"] == 0


def test_an_unknown_architecture_has_no_full_occupancy():
    assert points(WHOLE, gpu=replace(GPU, compute_capability="99.0"))["registers"] is None


def test_a_candidate_that_was_not_timed_has_no_score():
    assert scored(trial=None).terms == ()


def test_the_command_prints_every_term(kernel_gate, tmp_path):
    path = tmp_path / "cand.json"
    write_record(path, measurement(WHOLE))
    said = kernel_gate("score", "--cand", path)
    assert said.code == 0, said.err
    for words in ("speed", "1000 × 1 ms / 0.8 ms", "2 × 40.0%", "−5 × 2 per tile", "1355.4", "complete"):
        assert words in said.out


def test_the_command_writes_every_term_and_the_sum(kernel_gate, tmp_path):
    write_record(tmp_path / "cand.json", measurement(WHOLE))
    said = kernel_gate("score", "--cand", tmp_path / "cand.json", "--out", tmp_path / "score.json")
    (seen,) = json.loads((tmp_path / "score.json").read_text())["scores"]
    assert said.code == 0
    assert seen["total"] == pytest.approx(sum(each["points"] for each in seen["terms"])) == pytest.approx(1355.4)


def test_the_command_has_nothing_to_score_where_nothing_was_timed(kernel_gate, tmp_path):
    path = tmp_path / "cand.json"
    write_record(path, measurement(trial=None))
    said = kernel_gate("score", "--cand", path)
    assert (said.code, "no score: the candidate was not timed" in said.out) == (2, True)
