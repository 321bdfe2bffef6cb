"""What is installed from a built wheel, on a Python that has the dependencies and nothing of this checkout."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from gate.verdict.evidence_file import load_evidence
from tests.e2e.actrun import runners_environment
from tests.support import examples
from tests.support.bare import make_bare_python

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "gate", "kernels", "scripts")


def test_every_package_and_file_of_the_checkout_is_in_the_wheel():
    packaged = PROJECT["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "gate").rglob("__init__.py")}
    assert sorted(packaged) == sorted({*folders, "gate.cli", "gate.kernels"})
    assert data("gate") == files("gate", but={".py", ".pyc"})
    assert data("gate.kernels") == files("kernels", but={".md", ".pyc"})


def data(package):
    """What the package's patterns match."""
    folder = ROOT / PROJECT["tool"]["setuptools"]["package-dir"].get(package, package)
    patterns = PROJECT["tool"]["setuptools"]["package-data"][package]
    return {path for pattern in patterns for path in folder.glob(pattern)}


def files(folder, but):
    return {path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix not in but}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Runs the wheel's command in a folder that was empty; gives the folder and how the command ended."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    pip = [sys.executable, "-I", "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "out", folder]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "out").glob("*.whl")
    python = make_bare_python(folder / "venv")
    subprocess.run([*pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (folder / "empty").mkdir()

    def call(*arguments):
        command = [python.with_name("kernel-gate"), *map(str, arguments)]
        variables = runners_environment() | {"KERNEL_GATE_CACHE": str(folder / "cache")}
        ended = subprocess.run(
            command, cwd=folder / "empty", env=variables, capture_output=True, text=True, check=False
        )
        return folder / "empty", ended

    assert zipfile.is_zipfile(wheel)
    return call


@pytest.mark.slow
def test_a_wheel_brings_candidates_and_the_header_that_they_include(installed):
    folder, ended = installed("build", "--impl", "cpu_tiled")
    assert ended.returncode == 0, ended.stderr
    assert not (folder / "kernels").exists()


@pytest.mark.slow
def test_a_wheel_judges_a_candidate_and_writes_its_report(installed):
    folder, ended = installed(
        "run", "--impl", "honest", "--kernels", examples.ADVERSARIAL, "--device", "cpu", "--shape", "1,2,64,32",
        "--replicates", 5, "--iters", 4, "--set", "measure.warmup_rounds=3", "--baseline", "math", "--advisory",
        "--out", "out",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert load_evidence(folder / "out" / "run.json").measurement.impl == "honest"
    assert "<html" in (folder / "out" / "report.html").read_text()
