"""Files of schema version 1 become files of version 2: other names, the same numbers."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gate.records.conversion import convert

GOLDEN = Path(__file__).parents[1] / "golden"


def old(name: str) -> dict:
    return json.loads((GOLDEN / name).read_text())


@pytest.fixture(scope="module")
def run():
    """A converted run."""
    return convert(old("run-1.json"))


@pytest.fixture(scope="module")
def evaluation(run):
    """Its only evaluation."""
    return run["measurement"]["evaluations"][0]


def numbers(node) -> Iterator[float]:
    """All numbers in a JSON value, apart from the schema's version."""
    if isinstance(node, dict):
        node = [value for key, value in node.items() if key != "schema_version"]
    if isinstance(node, list):
        for value in node:
            yield from numbers(value)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield node


@pytest.mark.parametrize("name", ["run-1.json", "measurement-1.json"])
def test_no_number_changes(name):
    assert sorted(numbers(convert(old(name)))) == sorted(numbers(old(name)))


@pytest.mark.parametrize("name", ["run-1.json", "measurement-1.json"])
def test_the_table_that_was_given_is_left_as_it_is(name):
    table = old(name)
    convert(table)
    assert table == old(name)


def test_the_version_is_2_in_the_run_and_in_its_measurement(run):
    assert (run["schema_version"], run["measurement"]["schema_version"]) == (2, 2)


@pytest.mark.parametrize(("trial", "planned"), [("trial", [5, 10]), ("sdpa", [2])])
def test_the_looks_of_a_trial_are_its_interim_replicates(trial, planned, evaluation):
    assert evaluation[trial]["interim_replicates"] == planned
    assert "looks" not in evaluation[trial]


def test_what_was_launched_directly_is_uncaptured(evaluation):
    replicates = evaluation["trial"]["replicates"] + evaluation["sdpa"]["replicates"]
    assert [each["uncaptured"] for each in replicates] == [["candidate"]] * 5 + [[]] * 2
    assert not any("direct" in each for each in replicates)


def test_the_times_of_a_witness_say_how_the_baseline_was_called(evaluation):
    before, after = old("run-1.json")["measurement"]["evaluations"][0]["witness"], evaluation["witness"]
    assert after["baseline_local_ms"] == before["baseline_ms"] == [1.0, 1.01, 1.02]
    assert after["baseline_ipc_ms"] == before["baseline_far_ms"] == [1.1, 1.11, 1.12]
    assert (after["baseline_solo_ms"], after["uncaptured"]) == (before["alone_ms"], before["direct"])
    assert set(after) == {*before, "baseline_local_ms", "baseline_ipc_ms", "baseline_solo_ms", "uncaptured"} - {
        "baseline_ms", "baseline_far_ms", "alone_ms", "direct",
    }  # fmt: skip


def test_the_times_of_a_comparison_keep_their_names_where_they_did_not_change(run):
    before, after = old("run-1.json")["comparisons"][0], run["comparisons"][0]
    assert after["baseline_ms"] == before["baseline_ms"]
    assert after["empty_launch_ms"] == before["floor_ms"]
    assert after["detectable_difference"] == before["smallest_difference"]


def test_gates_have_the_terms_of_the_field(run):
    names = [gate["name"] for gate in run["verdict"]["gates"]]
    assert names == ["correctness", "witness", "control", "baseline", "speedup", "confidence interval"]


RENAMED = {
    "correct": "correctness", "own work": "provenance", "measured": "completeness", "possible": "physical floor",
    "faster": "speedup", "interval": "confidence interval", "machine": "machine",
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), RENAMED.items())
def test_a_gate_is_renamed_and_a_verdict_keeps_its_words(before, after):
    table = old("run-1.json")
    table["verdict"]["gates"][0]["name"] = before
    verdict = convert(table)["verdict"]
    assert verdict["gates"][0]["name"] == after
    assert verdict["reason"] == table["verdict"]["reason"]
