"""Every program starts with Kernel Gate's stripped environment."""

import ast
import os
import sys
from pathlib import Path

import pytest

import gate
from gate.build.nvcc import nvcc_version
from gate.machine.cuda_tools import find_tool
from gate.machine.host import first_output_line
from gate.machine.programs import ALLOWED_ENVIRONMENT, run_program, stripped_environment

PYTHONS = str(Path(sys.executable).parent)
BY_ACCIDENT = {
    "CPATH": "/x", "GCC_EXEC_PREFIX": "/x", "GIT_DIR": "/x", "GITHUB_TOKEN": "secret", "LANG": "de_DE.UTF-8",
    "LANGUAGE": "de", "LC_MESSAGES": "tr_TR", "LD_PRELOAD": "x.so", "LIBRARY_PATH": "/x",
    "NVCC_APPEND_FLAGS": "-arch=sm_50", "NVCC_PREPEND_FLAGS": "--no-such-flag", "PYTHONPATH": "/x",
}  # fmt: skip
"""What a user may have set for other programs."""
STARTS = ("gate/machine/programs.py", "gate/sandbox/client.py")
"""Where a program may be started: the first for all that end, the second for the server, which stays."""


def test_an_environment_is_stripped_to_what_is_allowed():
    after = stripped_environment({**BY_ACCIDENT, "PATH": "/bin", "CXX": "g++", "LC_ALL": "de_DE.UTF-8"})
    assert set(after) == {"CXX", *stripped_environment({})}
    assert not set(after) & set(BY_ACCIDENT)
    assert after["PATH"] == f"{PYTHONS}{os.pathsep}/bin"
    assert after["LC_ALL"] == "C.UTF-8"


def test_an_environment_finds_ninja_even_without_a_path():
    assert PYTHONS in stripped_environment({})["PATH"].split(os.pathsep)


def test_stripping_twice_changes_nothing():
    once = stripped_environment(dict.fromkeys(ALLOWED_ENVIRONMENT, "x"))
    assert stripped_environment(once) == once


def test_a_program_gets_no_variable_of_the_users(monkeypatch):
    for name, value in BY_ACCIDENT.items():
        if name != "LD_PRELOAD":  # the test's own processes would load it
            monkeypatch.setenv(name, value)
    seen = run_program(["env"], variables={"MORE": "1"}).stdout.decode().splitlines()
    names = {line.partition("=")[0] for line in seen}
    assert "MORE" in names
    assert not names & set(BY_ACCIDENT)


def test_a_program_gets_the_given_input_or_none():
    assert run_program(["cat"]).stdout == b""
    assert run_program(["cat"], input=b"text").stdout == b"text"


def test_a_program_finds_its_helpers_in_its_own_folder(tmp_path, monkeypatch):
    for name, line in (("outer", "exec inner"), ("inner", "echo beside")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    outer = str(tmp_path / "outer")
    assert run_program([outer], own_folder_first=True).stdout == b"beside\n"
    assert run_program([outer]).returncode == 127


def test_git_reads_this_folder_whatever_repository_the_user_works_in(monkeypatch, tmp_path):
    here = first_output_line("git", "rev-parse", "--git-dir")
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert first_output_line("git", "rev-parse", "--git-dir") == here


@pytest.mark.skipif(find_tool("nvcc") is None, reason="no nvcc here: install the CUDA toolkit")
def test_the_compiler_gets_no_flags_of_the_users(monkeypatch):
    plain = nvcc_version()
    monkeypatch.setenv("NVCC_PREPEND_FLAGS", "--no-such-flag")
    assert nvcc_version() == plain != ""


def test_no_other_module_starts_a_program():
    root = Path(gate.__file__).parents[1]
    starting = {"run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
    for path in (root / "gate").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        found = [
            each.attr
            for each in calls
            if (isinstance(each.value, ast.Name) and (each.value.id == "subprocess" and each.attr in starting))
            or each.attr in ("system", "popen", "posix_spawn", "execv", "execve", "execvp")
        ]
        assert not found or str(path.relative_to(root)) in STARTS, (path, found)
