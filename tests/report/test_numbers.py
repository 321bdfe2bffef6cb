"""Whatever numbers a file carries, it is judged and shown, or refused in one line."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gate.analysis.score import Scores, score
from gate.errors import BadInputError
from gate.records import Ceilings, KernelResources, Policy
from gate.records.codec import to_json
from gate.report.html import page
from gate.report.measurement import changes_table, times_table
from gate.report.profile import profile_text
from gate.report.score import score_text
from gate.report.terminal import terminal
from gate.verdict.evidence_file import load_evidence
from gate.verdict.judge import judge
from gate.verdict.regression import changes
from tests.support import examples
from tests.support.profiles import kernel, machine_code, profile

TAKEN = KernelResources("attend", "9.0", 128, 0, 0, 0, 0, threads=128)
CODE = (machine_code("attend"),)
COUNTED = profile(kernel(), ceilings=Ceilings(4e12, {"float16": 7e14}), machine_code=CODE, seconds=3.0)
MEASURED = examples.gpu_measurement(
    replace(examples.gpu_evaluation(), profiles=(COUNTED, profile(impl=examples.FLASH))),
    build=examples.build(architectures=("9.0",), resources=(TAKEN,)),
)
EXTREMES = (0, -1, 1e-300, 1e18, 1.7e308, 10**400)
DRAWN = ("workload", "gpu", "ceilings", "duration_ns", "dram_sectors_read")
"""What the page's roofline is drawn from."""


def numbers(table, at=()) -> Iterator[tuple]:
    """The path of every number; of a sequence, of its first element alone."""
    if isinstance(table, dict):
        for name, each in table.items():
            yield from numbers(each, (*at, name))
    elif isinstance(table, list):
        yield from numbers(table[0], (*at, 0)) if table else ()
    elif isinstance(table, (int, float)) and not isinstance(table, bool):
        yield at


TABLE = json.loads(to_json(MEASURED))
PATHS = list(numbers(TABLE))


def spoiled(at, number) -> str:
    table = json.loads(to_json(MEASURED))
    for trial in [table["evaluations"][0][name] for name in ("sdpa", "trial")]:
        trial["median_ms"] = {}  # so that only the samples speak
    place = table
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = number
    return json.dumps(table)


def test_a_file_whose_numbers_are_its_own_is_judged(tmp_path):
    """The rest refuses what it refuses for the number that was changed, then."""
    at = ("evaluations", 0, "workload", "batch")
    (tmp_path / "cand.json").write_text(spoiled(at, MEASURED.evaluations[0].workload.batch))
    assert at in PATHS
    assert load_evidence(tmp_path / "cand.json") == MEASURED


@pytest.mark.parametrize("at", PATHS, ids=lambda at: ".".join(map(str, at)))
def test_any_number_anywhere_is_judged_or_refused(at, tmp_path):
    for number in EXTREMES:
        (tmp_path / "cand.json").write_text(spoiled(at, number))
        try:
            measurement = load_evidence(tmp_path / "cand.json")
        except BadInputError:
            continue
        run = judge(measurement, Policy())
        assert to_json(run)
        assert all((terminal(run), times_table(measurement), profile_text(measurement)))
        assert not set(at) & set(DRAWN) or page(run)
        scores = Scores(measurement.impl, tuple(score(measurement, each) for each in measurement.evaluations))
        assert score_text(scores)
        assert changes_table(changes(measurement, MEASURED, Policy()))


@pytest.mark.parametrize("replicates", [2, 6])
@pytest.mark.parametrize("alpha", [1e-6, 0.05, 0.99])
def test_times_that_are_as_far_apart_as_any_give_no_verdict_and_no_fault(replicates, alpha):
    far = [examples.trial(replicates=1, baseline_ms=each, seed=seed) for seed, each in enumerate((1e-5, 1e8) * 3)]
    wild = [
        replace(each.replicates[0], times_ms=tuple(times[::step] for times in each.replicates[0].times_ms))
        for each, step in zip(far, (1, -1) * 3, strict=True)
    ]
    trial = examples.trial(replicates=1)
    trial = replace(trial, replicates=tuple(wild[:replicates]), median_ms={})
    policy = Policy(min_replicates=2, alpha=alpha, control_alpha=alpha)
    run = judge(examples.measurement(examples.evaluation(trial=trial)), policy)
    assert run.verdict.exit_code == 2
    assert to_json(run)
    assert terminal(run)
