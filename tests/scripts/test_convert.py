"""`kernel-gate convert`: recorded files of schema version 1, rewritten in place."""

import shutil
from pathlib import Path

import pytest

from gate.verdict.evidence_file import load_evidence

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def old(tmp_path):
    """Two files of version 1, as a user recorded them."""
    names = ("run-1.json", "measurement-1.json")
    return [Path(shutil.copy(GOLDEN / name, tmp_path)) for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_of_version_1_can_be_read_once_they_are_converted(old, kernel_gate):
    answer = kernel_gate("convert", *old)
    assert (answer.code, answer.out) == (0, "".join(f"{path}: converted to version 2\n" for path in old))
    assert [load_evidence(path).schema_version for path in old] == [2, 2]


def test_converting_twice_changes_nothing_more(old, kernel_gate, tmp_path):
    kernel_gate("convert", *old)
    once = contents(tmp_path)
    answer = kernel_gate("convert", *old)
    assert (answer.code, answer.out) == (0, "".join(f"{path}: already version 2\n" for path in old))
    assert contents(tmp_path) == once


BAD = {
    "of a later version": '{"kind": "measurement", "schema_version": 3}',
    "of another kind": '{"kind": "doctor", "schema_version": 1}',
    "not JSON": "schema_version: 1",
    "of version 1 in name only": '{"kind": "run", "schema_version": 1, "verdict": {"gates": [1, {}]}}',
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_file_that_is_neither_leaves_every_file_as_it_is(text, old, kernel_gate, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    before = contents(tmp_path)
    answer = kernel_gate("convert", *old, bad)
    assert answer.code == 64
    assert "bad.json" in answer.complaint
    assert contents(tmp_path) == before


def test_a_run_whose_samples_contradict_its_verdict_is_not_converted(old, kernel_gate):
    run, _ = old
    run.write_text(run.read_text().replace('"outcome": "pass"', '"outcome": "undecided"', 1))
    before = run.read_bytes()
    answer = kernel_gate("convert", run)
    assert answer.code == 64
    assert run.read_bytes() == before
