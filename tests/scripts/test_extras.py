"""What a command needs beyond the base installation, and what is said where it is not installed."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gate
from gate.storage import write_record
from scripts import extras
from scripts.cli import COMMANDS
from tests.support import examples

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PROGRAMS = {"ninja"}
"""Packages that are not imported."""
BLOCKED = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from scripts.cli import main
main()
"""


def names(requirements):
    return {re.split(r"[<>=; \[]", requirement)[0].lower() for requirement in requirements}


@pytest.mark.parametrize("extra", extras.MODULES)
def test_the_modules_of_an_extra_are_those_that_pyproject_installs(extra):
    packages = importlib.metadata.packages_distributions()
    installed = {packages[module][0].lower() for module in extras.MODULES[extra]}
    assert installed == names(PROJECT["optional-dependencies"][extra]) - PROGRAMS


def test_every_command_and_extra_in_the_table_exists():
    assert set(extras.NEEDS) <= set(COMMANDS)
    assert set(extras.OPTIONAL) <= set(extras.NEEDS)
    assert {extra for needed in extras.NEEDS.values() for extra in needed} == set(extras.MODULES)
    assert PROJECT["optional-dependencies"]["all"] == [f"kernel-gate[{','.join(extras.MODULES)}]"]


CALLS = {
    "baseline": [], "build": ["--impl", "x"], "candidates": [], "doctor": [], "fuzz": [], "plan": [], "withdraw": [],
    "machine-code": ["--impl", "x"], "measure-candidate": ["--impl", "x"], "measure-sdpa": [], "profile": [],
    "run": ["--impl", "x"], "gate": ["--cand", "x", "--report", "x"], "comment": ["--cand", "x"],
}  # fmt: skip


@pytest.mark.parametrize("command", extras.NEEDS)
def test_a_command_that_lacks_an_extra_says_at_once_which_to_install(command, kernel_gate, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    answer = kernel_gate(command, *CALLS[command])
    assert answer.code == 69
    assert answer.complaint.endswith(f"pip install 'kernel-gate[{','.join(extras.NEEDS[command])}]'")
    assert kernel_gate(command, "--help").code == 0


def test_only_what_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None if name == "elftools" else name)
    with pytest.raises(Exception, match=r"not installed: elftools; pip install 'kernel-gate\[measure\]'$"):
        extras.require("measure", "report")


@pytest.mark.parametrize("command", [["gate"], ["comment", "--dry-run"]], ids=" ".join)
def test_a_hosted_judge_needs_no_extra(command, tmp_path):
    """In a process of its own, in which nothing of any extra can be imported."""
    write_record(tmp_path / "run.json", examples.run())
    absent = {name for modules in extras.MODULES.values() for name in modules}
    called = [sys.executable, "-c", BLOCKED.format(names=absent), *command, "--cand", tmp_path / "run.json"]
    done = subprocess.run(called, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PASS" in done.stdout


def test_the_version_has_one_source(kernel_gate):
    assert PROJECT["dynamic"] == ["version"]
    assert kernel_gate("--version").out == f"kernel-gate, version {gate.__version__}\n"
