import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gate import errors
from gate.records import Build, Measurement, Run, Status
from gate.records.codec import from_json, to_json
from gate.storage import MAX_BYTES, write_record, write_text
from gate.verdict.evidence_file import load_converted, load_evidence, measurement_of
from tests.support import examples

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDS = {
    "a measurement": examples.measurement,
    "a measurement of SDPA": examples.sdpa_measurement,
    "a measurement that chose its baseline": lambda: examples.measurement(
        examples.evaluation(sdpa=examples.sdpa_trial())
    ),
    "a measurement of what is wrong": lambda: examples.measurement(
        examples.evaluation(correctness=examples.incorrect(), trial=None)
    ),
    "a measurement of what crashed while timed": lambda: examples.measurement(
        examples.evaluation(trial=examples.trial(replicates=0))
    ),
    "a measurement of what does not build": lambda: examples.measurement(
        build=Build(examples.IMPL, Status.BUILD_FAILED, "error: no"), evaluations=()
    ),
    "a run": examples.run,
    "a run of too few replicates": lambda: examples.run(
        examples.measurement(examples.evaluation(trial=examples.trial(replicates=2)))
    ),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evidence.json"


@pytest.fixture
def table():
    """A run's JSON, for a test to spoil."""
    return json.loads(to_json(examples.run()))


def refusal(path: Path, text: str, kind: type[errors.GateError]) -> str:
    """What `load` says of a file with this text; its error is exactly of `kind`, and one line."""
    path.write_text(text)
    with pytest.raises(errors.BadInputError) as caught:
        load_evidence(path)
    assert caught.type is kind, caught.value
    said = str(caught.value)
    assert "\n" not in said
    assert str(path) in said
    return said


@pytest.mark.parametrize("make", RECORDS.values(), ids=RECORDS)
def test_what_was_written_is_what_is_read(make, path):
    write_record(path, make())
    assert load_evidence(path) == make()


@pytest.mark.parametrize("make", RECORDS.values(), ids=RECORDS)
def test_equal_records_have_the_same_bytes(make, path):
    write_record(path, make())
    assert to_json(load_evidence(path)) + "\n" == path.read_text()


@pytest.mark.parametrize("indent", [None, 2])
def test_indentation_changes_nothing(indent, path):
    write_record(path, examples.run(), indent=indent)
    assert load_evidence(path) == examples.run()


def test_a_file_says_what_it_is_and_under_which_schema(table):
    assert (table["kind"], table["schema_version"]) == ("run", 2)


def test_a_golden_file_is_still_read():
    loaded = load_evidence(GOLDEN / "measurement-2.json")
    assert isinstance(loaded, Measurement)
    trial = loaded.evaluations[0].trial
    assert trial.samples("candidate") == [[0.8, 0.81], [0.79, 0.8]]
    assert trial.median_ms["candidate"] == 0.8


@pytest.mark.parametrize("name", ["run-1.json", "measurement-1.json"])
def test_a_file_of_version_1_is_refused_with_the_command_that_converts_it(name):
    old = GOLDEN / name
    with pytest.raises(
        errors.SchemaVersionError, match=rf"convert it with `kernel-gate convert {re.escape(str(old))}`"
    ):
        load_evidence(old)


def test_a_converted_file_is_what_this_version_writes(path):
    write_record(path, load_converted(GOLDEN / "measurement-1.json"))
    assert load_evidence(path) == load_evidence(GOLDEN / "measurement-2.json")


def test_a_converted_run_has_the_verdict_that_was_recorded():
    run, recorded = load_converted(GOLDEN / "run-1.json"), json.loads((GOLDEN / "run-1.json").read_text())
    assert (run.verdict.outcome, run.verdict.reason) == (
        recorded["verdict"]["outcome"],
        recorded["verdict"]["reason"],
    )


def test_a_file_of_this_version_is_not_converted(path):
    write_record(path, examples.run())
    assert load_converted(path) is None


def test_the_evidence_of_a_run_is_its_measurement():
    run = examples.run()
    assert measurement_of(run) == run.measurement
    assert measurement_of(run.measurement) == run.measurement


@pytest.mark.parametrize("keep", [0, 1, 0.2, 0.5, 0.9, -2])
def test_a_truncated_file_is_refused(keep, path):
    whole = to_json(examples.run())
    cut = whole[: int(keep * len(whole)) if isinstance(keep, float) else keep]
    assert "truncated" in refusal(path, cut, errors.MalformedFileError)


@pytest.mark.parametrize("version", [0, 1, 3, "2", 2.0, True, None])
def test_another_schema_version_is_refused(version, path, table):
    said = refusal(path, json.dumps({**table, "schema_version": version}), errors.SchemaVersionError)
    assert "schema_version" in said
    assert ("kernel-gate convert" in said) == (version == 1 and version is not True)


def test_another_schema_version_of_the_measurement_within_a_run_is_refused(path, table):
    table["measurement"]["schema_version"] = 1
    refusal(path, json.dumps(table), errors.MalformedFileError)


def test_a_missing_schema_version_is_refused(path, table):
    del table["schema_version"]
    refusal(path, json.dumps(table), errors.SchemaVersionError)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused(number, path, table):
    table["measurement"]["evaluations"][0]["trial"]["replicates"][0]["times_ms"][0][0] = "SPOILED"
    text = json.dumps(table).replace('"SPOILED"', number)
    refusal(path, text, errors.NonFiniteNumberError)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_refused_even_where_no_number_belongs(number, path):
    text = to_json(examples.run()).replace('"impl":"honest"', f'"impl":{number}')
    assert number in refusal(path, text, errors.NonFiniteNumberError)


def test_medians_that_are_not_the_samples_are_refused(path, table):
    table["measurement"]["evaluations"][0]["trial"]["median_ms"]["candidate"] *= 0.99
    assert "median_ms" in refusal(path, json.dumps(table), errors.InconsistentFileError)


def test_a_sample_that_was_changed_under_its_medians_is_refused(path, table):
    for each in table["measurement"]["evaluations"][0]["trial"]["replicates"]:
        each["times_ms"] = [[time / 2 for time in times] for times in each["times_ms"]]
    refusal(path, json.dumps(table), errors.InconsistentFileError)


def test_an_estimate_that_the_samples_do_not_give_is_refused(path, table):
    table["comparisons"][0]["ratio"]["point"] *= 1 + 1e-6
    assert "samples" in refusal(path, json.dumps(table), errors.InconsistentFileError)


def test_a_verdict_that_the_samples_do_not_give_is_refused(path):
    slow = examples.measurement(examples.evaluation(trial=examples.trial(ratio=1.3)))
    forged = json.loads(to_json(examples.run()))
    forged["measurement"] = json.loads(to_json(slow))
    refusal(path, json.dumps(forged), errors.InconsistentFileError)


def test_an_outcome_against_its_gates_is_refused(path, table):
    table["verdict"]["outcome"] = "undecided"
    assert "verdict" in refusal(path, json.dumps(table), errors.InconsistentFileError)


def test_an_unknown_field_is_refused(path, table):
    table["measurement"]["environment"]["weather"] = "fine"
    assert "weather" in refusal(path, json.dumps(table), errors.MalformedFileError)


def test_a_missing_field_is_refused_by_name(path, table):
    del table["measurement"]["environment"]["torch"]
    assert "environment.torch" in refusal(path, json.dumps(table), errors.MalformedFileError)


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", '"run"', "{}", '{"kind": "verdict", "schema_version": 1}', '{"kind": ["run"]}'],
)  # fmt: skip
def test_json_of_another_kind_is_refused(text, path):
    refusal(path, text, errors.MalformedFileError)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"kind": ' * 200_000, '{"kind": 1' + "0" * 5000 + "}"])
def test_json_beyond_what_can_be_read_is_refused(text, path):
    refusal(path, text, errors.MalformedFileError)


def test_a_file_that_is_not_text_is_refused(path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(errors.MalformedFileError, match="not UTF-8 text"):
        load_evidence(path)


def test_a_file_that_is_larger_than_any_evidence_is_refused_unread(path):
    whole = to_json(examples.run())
    largest = whole + " " * (MAX_BYTES - len(whole.encode()))
    path.write_text(largest)
    assert load_evidence(path) == examples.run()
    assert "larger than 64 MiB" in refusal(path, f"{largest} ", errors.MalformedFileError)


def test_a_missing_file_is_refused(path):
    with pytest.raises(errors.BadInputError, match="No such file"):
        load_evidence(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(errors.BadInputError, match="Is a directory"):
        load_evidence(tmp_path)


def test_a_reply_is_refused_like_a_file():
    with pytest.raises(errors.MalformedFileError, match="the answer"):
        from_json(Run, "Segmentation fault", "the answer")
    with pytest.raises(errors.NonFiniteNumberError):
        from_json(Build, to_json(examples.build(seconds=0.5)).replace("0.5", "NaN"), "the answer")


def test_folders_on_the_way_to_an_output_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "content")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "content"


def test_a_written_file_can_be_read_by_everyone(path):
    write_text(path, "content")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_text_is_utf8_whatever_the_locale(path):
    code = "import sys, pathlib, gate.storage as f; f.write_text(pathlib.Path(sys.argv[1]), '\\u2705 1.25\\u00d7')"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code, path], env=environment, check=True)
    assert path.read_bytes() == "✅ 1.25×".encode()


def test_writing_replaces_what_was_there(path):
    path.write_text("before, and longer")
    write_text(path, "after")
    assert path.read_text() == "after"


@pytest.mark.parametrize("fails", ["while the text is written", "while the file is renamed"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(fails, path, monkeypatch):
    path.write_text("before")
    if fails == "while the file is renamed":
        monkeypatch.setattr(Path, "replace", lambda self, target: 1 / 0)
    with pytest.raises((UnicodeEncodeError, ZeroDivisionError)):
        write_text(path, "after \ud800" if fails == "while the text is written" else "after")
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_an_output_below_a_file_cannot_be_written(path):
    path.write_text("a file")
    with pytest.raises(errors.UnwritableOutputError, match="cannot write"):
        write_text(path / "x.json", "content")


def test_an_output_that_is_a_folder_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.UnwritableOutputError, match="Is a directory"):
        write_text(tmp_path / "folder", "content")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_run_whose_words_an_older_version_chose_is_still_read(tmp_path):
    judged = examples.run()
    older = replace(judged, verdict=replace(judged.verdict, next_step="Merge it.", reason="It is faster."))
    write_record(tmp_path / "run.json", older)
    assert load_evidence(tmp_path / "run.json") == older
