"""End to end, as people run it: processes of their own, a real candidate, files on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from gate.records import EXIT_CODES, Outcome
from gate.verdict.evidence_file import load_evidence
from tests.support import examples

pytestmark = pytest.mark.xdist_group("run")  # one run serves most

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "run-2.json").read_text())
WORDS = {outcome.value.upper(): code for outcome, code in EXIT_CODES.items()}
TINY = ("--shape", "1,2,64,32", "--iters", "4", "--set", "measure.warmup_rounds=3")
HONEST = ("--impl", "honest", "--kernels", str(examples.ADVERSARIAL))


def kernel_gate(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m gate.cli.NAME ...`, in a folder of its own."""
    name, *rest = map(str, arguments)
    command = [sys.executable, "-P", "-m", f"gate.cli.{name.replace('-', '_')}", *rest]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def code_of(printed: str) -> int:
    """The exit code of the verdict in the first line."""
    mark, word = printed.splitlines()[0].split()[:2]
    assert mark
    return WORDS[word.rstrip(":")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One run of the whole pipeline: the folder, and what it said."""
    folder = tmp_path_factory.mktemp("run")
    return folder, kernel_gate("run", *HONEST, *TINY, "--replicates", 5, "--out", folder / "out", cwd=folder)


def test_a_run_ends_with_the_code_of_the_verdict_that_it_prints(ran):
    _, done = ran
    assert done.returncode == code_of(done.stdout)
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr


def test_a_run_writes_its_files_and_nothing_else(ran):
    folder, done = ran
    written = {path.name for path in (folder / "out").iterdir()}
    assert written == {"run.json", "report.html", "comment.md", "env.json"}
    assert sorted(path.name for path in folder.iterdir()) == ["out"]
    assert [name for name in written if f"{folder}/out/{name}" not in done.stdout] == []


def test_the_run_validates_and_holds_every_sample(ran):
    folder, done = ran
    table = json.loads((folder / "out" / "run.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(table)
    trial = table["measurement"]["evaluations"][0]["trial"]
    assert len(trial["replicates"]) == 5
    assert all(len(replicate["times_ms"]) == 4 for replicate in trial["replicates"])
    assert all(len(times) == 4 for replicate in trial["replicates"] for times in replicate["times_ms"])
    assert EXIT_CODES[Outcome(table["verdict"]["outcome"])] == done.returncode


def test_the_comment_and_the_environment_tell_of_the_same_run(ran):
    folder, _ = ran
    run = load_evidence(folder / "out" / "run.json")
    comment = (folder / "out" / "comment.md").read_text()
    assert run.verdict.outcome.value.upper() in comment.splitlines()[0]
    assert "1,2,64,32 float32" in comment
    assert json.loads((folder / "out" / "env.json").read_text())["torch"] == run.measurement.environment.torch


def test_gate_recomputes_the_same_verdict_from_the_run(ran):
    folder, done = ran
    again = kernel_gate("gate", "--cand", folder / "out" / "run.json", cwd=folder)
    assert again.returncode == done.returncode
    assert done.stdout.startswith(again.stdout.rstrip())


def test_progress_goes_to_standard_error(ran):
    _, done = ran
    assert "build honest" in done.stderr
    assert "build honest ..." not in done.stdout


def test_an_advisory_run_ends_with_0_whatever_the_verdict(tmp_path):
    arguments = ("--impl", "wrong_answer", "--kernels", examples.ADVERSARIAL, *TINY, "--replicates", 1)
    done = kernel_gate("run", *arguments, "--advisory", "--out", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0
    assert code_of(done.stdout) == 1
    assert "advisory: exits with 0; the verdict's exit code is 1" in done.stdout
    assert load_evidence(tmp_path / "out" / "run.json").verdict.outcome is Outcome.REJECTED


def test_what_was_measured_in_two_commands_is_judged_together(tmp_path):
    sdpa, cand = tmp_path / ".ci" / "sdpa.json", tmp_path / ".ci" / "cand.json"
    measured = kernel_gate("measure-sdpa", "--backend", "all", *TINY, "--replicates", 5, "--out", sdpa, cwd=tmp_path)
    assert measured.returncode == 0
    arguments = (*HONEST, *TINY, "--replicates", 5, "--baseline", "flash", "--out", cand)
    assert kernel_gate("measure-candidate", *arguments, cwd=tmp_path).returncode == 0
    judged = kernel_gate("gate", "--sdpa", sdpa, "--cand", cand, "--alpha", "0.05", "--speedup", "0.95", cwd=tmp_path)
    assert judged.returncode == code_of(judged.stdout)
    assert "baseline" in judged.stdout
    assert "Traceback" not in judged.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (("--impl", "nobody", *HONEST[2:]), {}, 2),
        ((*HONEST, "--shape", "1,2,64"), {}, 64),
        ((*HONEST, *TINY, "--out", "file/out"), {}, 64),
        ((*HONEST, *TINY, "--device", "cuda"), {}, 64),
        ((*HONEST, *TINY, "--nonsense"), {}, 64),
        ((*HONEST, *TINY), {"CXX": "/nonexistent"}, 69),
    ],
    ids=["no such candidate", "malformed shape", "unwritable", "another device", "unknown option", "no compiler"],
)
def test_what_cannot_run_says_so_in_one_line_and_writes_no_file(arguments, environment, code, tmp_path):
    (tmp_path / "file").write_text("a file")
    done = kernel_gate("run", *arguments, cwd=tmp_path, KERNEL_GATE_CACHE=str(tmp_path / "cache"), **environment)
    assert done.returncode == code
    *progress, complaint = done.stderr.splitlines()
    assert complaint.startswith("kernel-gate: ")
    assert all(line.endswith(" ...") for line in progress)
    assert done.stdout == ""
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["file"]
