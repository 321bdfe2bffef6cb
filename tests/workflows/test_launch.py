"""How an action becomes a command; nothing is installed here."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gate.files import load, write_record
from gate.records import Outcome
from tests import examples

LAUNCH = Path(__file__).parents[2] / ".github" / "actions" / "launch.py"


@pytest.fixture
def launch(tmp_path):
    """Runs launch.py as an action's step does, with this very Python in place of a virtual environment."""

    def call(*arguments: str, **variables: str):
        given = {"KERNEL_GATE_PYTHON": sys.executable, "GITHUB_OUTPUT": str(tmp_path / "output"), **variables}
        plain = {
            name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "KERNEL_GATE_"))
        }
        command = [sys.executable, "-I", str(LAUNCH), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=plain | given, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def module(monkeypatch, tmp_path):
    """launch.py as a module; makes virtual environments of two empty files."""
    spec = importlib.util.spec_from_file_location("launch", LAUNCH)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    loaded.made = []

    def make(folder, python, shared, wanted):
        loaded.made.append(wanted)
        folder.mkdir()
        (folder / "ready").touch()

    loaded.make = make
    return loaded


def test_options_come_from_the_environment_and_the_exit_code_goes_back(launch, tmp_path):
    write_record(
        tmp_path / "cand.json", examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4))))
    )
    done = launch(
        "gate", KERNEL_GATE_GATE_CAND="cand.json", KERNEL_GATE_GATE_OUT="out/run.json", KERNEL_GATE_GATE_SDPA="",
        KERNEL_GATE_GATE_STRICT="", KERNEL_GATE_GATE_ALPHA="0.01", KERNEL_GATE_GATE_OVERRIDES="gates.margin=0.02",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    run = load(tmp_path / "out" / "run.json")
    assert run.verdict.outcome is Outcome.REJECTED
    assert (run.policy.alpha, run.policy.margin, run.policy.strict) == (0.01, 0.02, False)
    assert (tmp_path / "output").read_text() == "file=out/run.json\n"


@pytest.mark.parametrize(("text", "strict"), [("true", True), ("false", False), ("", False)])
def test_a_flag_is_true_false_or_left_out(text, strict, launch, tmp_path):
    write_record(tmp_path / "cand.json", examples.run())
    launch("gate", KERNEL_GATE_GATE_CAND="cand.json", KERNEL_GATE_GATE_STRICT=text, KERNEL_GATE_GATE_OUT="run.json")
    assert load(tmp_path / "run.json").policy.strict is strict


def test_a_judge_that_refuses_leaves_no_page_of_an_earlier_job(launch, tmp_path):
    (tmp_path / "report.html").write_text("older")
    done = launch("gate", KERNEL_GATE_GATE_CAND="absent.json", KERNEL_GATE_GATE_REPORT="report.html")
    assert done.returncode == 64
    assert not (tmp_path / "report.html").exists()


def test_several_shapes_are_separated_by_spaces(launch):
    done = launch("measure-candidate", IMPL="x", KERNEL_GATE_MEASURE_CANDIDATE_SHAPES="1,8,512,64 broken")
    assert done.returncode == 64


def test_a_path_of_several_lines_sets_no_second_output(launch, tmp_path):
    done = launch("gate", KERNEL_GATE_GATE_CAND="x", KERNEL_GATE_GATE_OUT="a\noutcome=pass")
    assert done.returncode == 1
    assert not (tmp_path / "output").exists()


def test_a_module_in_the_working_folder_is_not_imported(launch, tmp_path):
    for name in ("click.py", "gate.py", "json.py", "scripts.py"):
        (tmp_path / name).write_text("raise SystemExit(99)\n")
    assert launch("gate", "--help").returncode == 0


def test_an_environment_is_made_once_and_found_by_what_is_in_it(module):
    assert module.environment("plan") == module.environment("comment")
    assert len(module.made) == 1
    module.environment("run")
    assert len(module.made) == 2


def test_an_environment_that_was_left_half_made_is_made_anew(module):
    folder = module.environment("plan").parents[1]
    (folder / "ready").unlink()
    module.environment("plan")
    assert len(module.made) == 2


def test_only_measuring_needs_torch_and_a_compiler(module):
    commenting, judging, measuring = (
        {each.split(">")[0] for each in module.requirements(command)} for command in ("comment", "gate", "run")
    )
    assert commenting == {"click", "numpy", "pydantic", "PyGithub", "scipy", "tabulate"}
    assert judging - commenting == {"jinja2", "matplotlib"}
    assert measuring - judging == {"torch", "ninja", "nvidia-ml-py", "setuptools"}


def test_every_package_of_the_hosted_judge_is_pinned(module):
    pinned = {line.partition("==")[0].lower() for line in module.CONSTRAINTS.read_text().splitlines() if "==" in line}
    wanted = {re.split(r"[<>=; \[]", each)[0].lower() for each in module.requirements("gate")}
    assert wanted <= pinned
