"""The finder of CUDA's programs: its search order, and its error if a program is missing."""

import ast
from pathlib import Path

import pytest

import gate
from gate.errors import UnfitEnvironmentError
from gate.machine import cuda_tools
from gate.machine.cuda_tools import REMEDIES, find_tool, require_tool


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without any of CUDA's programs; the fixture puts them where a test says, and returns their paths."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "usr" / "bin"))
    monkeypatch.setattr(cuda_tools, "ROOT", tmp_path)
    monkeypatch.setattr(cuda_tools, "_in_pip_packages", lambda: ())

    def put(place: str) -> str:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    return put


@pytest.mark.parametrize("name", REMEDIES)
def test_a_missing_program_makes_the_machine_unfit_and_names_the_remedy(name, machine):
    assert find_tool(name) is None
    with pytest.raises(UnfitEnvironmentError, match=f"{name} is not installed; .*(install|toolkit)"):
        require_tool(name)


def test_cuda_home_is_searched_before_the_path_and_the_path_before_the_usual_folders(machine, monkeypatch, tmp_path):
    last, middle, first = map(machine, ("usr/local/cuda/bin/nvcc", "usr/bin/nvcc", "mine/bin/nvcc"))
    assert find_tool("nvcc") == middle
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "mine"))
    assert require_tool("nvcc") == first
    monkeypatch.setenv("CUDA_HOME", "")
    Path(middle).unlink()
    assert find_tool("nvcc") == last


def test_a_cuda_home_without_the_program_hides_no_other(machine, monkeypatch, tmp_path):
    there = machine("usr/bin/ncu")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "stale"))
    assert find_tool("ncu") == there


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("nvcc", "usr/local/cuda-13.0/bin/nvcc"),
        ("nvcc", "opt/cuda/bin/nvcc"),
        ("cuobjdump", "usr/local/cuda-12.8/bin/cuobjdump"),
        ("compute-sanitizer", "usr/local/cuda/compute-sanitizer/compute-sanitizer"),
        ("ncu", "usr/local/cuda-13.0/nsight-compute-2025.3.1/ncu"),
        ("ncu", "opt/nvidia/nsight-compute/2025.3.1/ncu"),
    ],
)
def test_programs_are_found_where_installers_put_them(name, place, machine):
    there = machine(place)
    assert find_tool(name) == there


def test_the_newest_of_several_versions_is_used(machine):
    machine("opt/nvidia/nsight-compute/2024.10.2/ncu")
    machine("opt/nvidia/nsight-compute/2025.3.9/ncu")
    newest = machine("opt/nvidia/nsight-compute/2025.3.10/ncu")
    assert find_tool("ncu") == newest


def test_a_file_that_is_not_executable_is_not_a_program(machine):
    Path(machine("usr/bin/nvcc")).chmod(0o644)
    assert find_tool("nvcc") is None


def test_programs_in_pip_packages_are_searched_last(monkeypatch, tmp_path):
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cuda_tools, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "site" / "nvidia" / "cu13" / "bin" / "cuobjdump"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_tool("cuobjdump") == str(program)


def test_no_other_module_searches_for_cudas_programs():
    """By what their code says: no string with a name of these programs is handed to a search, or names a toolkit."""
    for path in Path(gate.__file__).parent.rglob("*.py"):
        if path.name != "cuda_tools.py":
            texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
            assert not [text for text in texts if isinstance(text, str) and text.startswith("/usr/local/cuda")], path
            assert "CUDA_PATH" not in texts or path.name == "programs.py", path
