"""Where samples come from: files, commit, run, time and seed; each is null as long as nobody recorded it."""

from dataclasses import replace

import pytest

from gate.records import Arm, Build, Measurement, MergeBase, Replicate, Status
from gate.records.codec import from_json, to_json
from tests.support import examples

COMMIT = "96455b2aee0f944b17ce140dfaff97202d6fd6e3"
MERGE_BASE_BUILD = Build(examples.IMPL, Status.OK, files_sha256="b" * 64)


def with_origin() -> Measurement:
    """A measurement that recorded all of it, and timed the merge base."""
    timed = examples.trial()
    arms = (*timed.arms, Arm("merge_base", examples.IMPL))
    replicates = tuple(
        replace(
            replicate,
            times_ms=tuple((*times, 0.9) for times in replicate.times_ms),
            creation_order=(*replicate.creation_order, "merge_base"),
            taken_at="2026-11-21T10:00:00+00:00",
        )
        for replicate in timed.replicates
    )
    evaluation = examples.evaluation(trial=replace(timed, arms=arms, replicates=replicates, median_ms={}))
    witness = replace(evaluation.witness, merge_base_ms=(0.9, 0.91, 0.9))
    return examples.measurement(
        replace(evaluation, witness=witness),
        build=examples.build(files_sha256="a" * 64),
        commit=COMMIT,
        run_id=17_123_456_789,
        seed=42,
        merge_base=MergeBase(COMMIT, MERGE_BASE_BUILD),
    )


def test_all_of_it_is_read_as_it_was_written():
    assert from_json(Measurement, to_json(with_origin()), "a file") == with_origin()


def test_what_was_not_recorded_is_null():
    measurement = examples.measurement()
    unrecorded = (measurement.commit, measurement.run_id, measurement.seed, measurement.merge_base)
    assert unrecorded == (None,) * 4
    assert measurement.build.files_sha256 is None
    assert {replicate.taken_at for replicate in measurement.evaluations[0].trial.replicates} == {None}
    assert measurement.evaluations[0].witness.merge_base_ms is None
    comparison = examples.run().comparisons[0]
    assert (comparison.physical_floor_ms, comparison.merge_base_ms, comparison.merge_base_ratio) == (None,) * 3


WRONG = {
    "a branch instead of a commit": lambda: examples.measurement(commit="main"),
    "a short commit": lambda: examples.measurement(commit=COMMIT[:12]),
    "a run with the number 0": lambda: examples.measurement(run_id=0),
    "a branch as the merge base": lambda: MergeBase("main"),
    "a digest of another length": lambda: examples.build(files_sha256="a" * 40),
    "a local time": lambda: Replicate(1, ((1.0,),), ("empty",), 0.1, 1, taken_at="2026-11-21T10:00:00+01:00"),
    "a date alone": lambda: Replicate(1, ((1.0,),), ("empty",), 0.1, 1, taken_at="2026-11-21"),
    "no time at all for a batch": lambda: replace(examples.witness(examples.trial()), merge_base_ms=(0.0,)),
    "a floor of nothing": lambda: replace(examples.run().comparisons[0], physical_floor_ms=0.0),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_what_nobody_can_have_recorded_is_refused(make):
    with pytest.raises(ValueError, match=r"hexadecimal|count lies|UTC|time lies"):
        make()
