"""Which files the processes run that Kernel Gate starts, with real processes in surroundings that mislead."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import gate
from gate.sandbox import bootstrap
from tests.support.bare import FOLDER, make_bare_python

ROOT = Path(gate.__file__).parents[1]
OTHER = "raise SystemExit('another module of this name')"
STARTS = """
import json, sys
from gate.sandbox import bootstrap
from gate.profiling.collect import HARNESS as profiled
from gate.check.sanitizer import HARNESS as sanitized
commands = {"server": bootstrap.command("gate.worker"), "profiled": list(profiled), "sanitized": sanitized}
print(json.dumps([sys.modules["gate"].__file__, commands[sys.argv[1]]]))
"""
TELLS = """
import json, os, gate, on_a_path, torch
from pathlib import Path
variables = Path("/proc/self/environ").read_text().split(chr(0))
print("TOLD", json.dumps([gate.__file__, torch.__file__, variables, dict(os.environ)]))
"""
RUNS = """
import json, sys
sys.path.insert(0, sys.argv[2])
import gate
del sys.path[0]  # as an editable install finds it: by no path
from gate.records import Case, Workload
from gate.settings.model import LimitSettings, Tolerance
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import CHECK, CheckRequest
asked = CheckRequest("cpu", Case(Workload(1, 1, 16, 16, "float32")), "x", sys.argv[1], Tolerance(1e-5, 1e-5), 1)
with WorkerServer(LimitSettings()) as server:
    print(server.call(CHECK, [asked], 60.0).output, sys.modules["gate"].__file__)
"""


@pytest.fixture(scope="module")
def misled(tmp_path_factory):
    """A Python in which another `gate` is installed, and a working folder that has files of every name."""
    folder = tmp_path_factory.mktemp("misled")
    python = make_bare_python(folder / "venv")
    for name in ("gate", "scripts"):
        (folder / "venv" / FOLDER / name).mkdir()
        (folder / "venv" / FOLDER / name / "__init__.py").write_text(OTHER)
    working = folder / "working"
    working.mkdir()
    for name in ("gate", "torch", "json", "pydantic", "sitecustomize"):
        (working / f"{name}.py").write_text(OTHER)

    def run(code: str, *arguments: str, path: Path = ROOT) -> str:
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
        command = [python, "-c", code, *arguments]
        done = subprocess.run(command, cwd=working, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_job_runs_the_files_of_the_process_that_started_it_and_sees_no_path(misled, tmp_path):
    (tmp_path / "kernel.py").write_text(TELLS)
    (tmp_path / "on_a_path.py").touch()
    output, _, mine = misled(RUNS, str(tmp_path / "kernel.py"), str(ROOT), path=tmp_path).rpartition(" ")
    theirs, torch, variables, environment = json.loads(re.search("TOLD (.*)", output).group(1))
    assert theirs == mine.strip() == gate.__file__
    assert "site-packages" in torch
    assert [each for each in variables if each.startswith("PYTHON")] == []
    assert not {"PYTHONPATH", "PYTHONSAFEPATH"} & set(environment)


@pytest.mark.parametrize("start", ["server", "profiled", "sanitized"])
def test_every_start_names_the_files_of_its_parent_and_reads_no_variable(start, misled):
    mine, command = json.loads(misled(STARTS, start))
    assert mine == gate.__file__
    assert command[1:3] == ["-I", str(Path(mine).parent / "sandbox" / "bootstrap.py")]


def test_a_working_folder_that_is_on_the_path_by_accident_is_not_searched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    given = ["/lib", str(tmp_path), str(tmp_path / "link"), str(tmp_path / "absent"), "/deps"]
    assert bootstrap.without_working_folder(given, ["/lib"]) == ["/lib", str(tmp_path / "absent"), "/deps"]


def test_this_pythons_own_packages_are_found_even_from_within_their_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bootstrap.without_working_folder([str(tmp_path)], [str(tmp_path)]) == [str(tmp_path)]


def test_a_working_folder_that_was_deleted_leaves_the_paths_alone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert bootstrap.without_working_folder(["/lib"], []) == ["/lib"]


def test_no_module_of_the_package_is_started_but_by_its_file():
    sources = {path: path.read_text() for path in Path(gate.__file__).parent.rglob("*.py")}
    assert [path.name for path, text in sources.items() if re.search(r"""["']-m["'], ?["']gate""", text)] == []
