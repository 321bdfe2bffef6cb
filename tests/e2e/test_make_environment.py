"""Which torch an environment gets, from package indexes that are folders here."""

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.support.bare import ACTIONS, load_action_file

CPU, CUDA = "2.13.0+cpu", "2.13.0"


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """environment.py on a machine with no driver and no torch, whose indexes are two empty folders."""
    module = load_action_file("environment.py")
    monkeypatch.setattr(module, "DRIVER", ())
    monkeypatch.setattr(module, "own_torch", lambda: None)
    monkeypatch.setattr(module, "CPU_INDEX", index(tmp_path / "pytorch"))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", index(tmp_path / "configured"))
    return module


def index(folder, **wheels: str) -> str:
    """The address of a package index that holds a wheel of each name, in that version, and of no content."""
    folder.mkdir(exist_ok=True)
    for name, version in wheels.items():
        (folder / name).mkdir(exist_ok=True)
        file = wheel(folder / name, name, version)
        (folder / name / "index.html").write_text(f'<a href="{file}">{file}</a>')
    return folder.as_uri()


def wheel(folder, name: str, version: str) -> str:
    requires = "Requires-Dist: nvidia-everything\n" if version == CUDA else ""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text)}\n")
    files[f"{about}/RECORD"] = "".join([*lines, f"{about}/RECORD,,\n"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl"


def installed(folder) -> set[str]:
    code = "import importlib.metadata as m; print(*(f'{d.name}={d.version}' for d in m.distributions()))"
    done = subprocess.run([folder / "bin" / "python", "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_without_a_driver_torch_is_the_cpu_build_of_the_configured_index(maker, tmp_path):
    index(tmp_path / "configured", torch=CPU, click="8.9")
    maker.make(tmp_path / "made", ["torch>=2.6", "click"], pip=False)
    assert installed(tmp_path / "made") == {f"torch={CPU}", "click=8.9"}


def test_without_one_there_it_is_pytorchs_own_and_never_the_cuda_build(maker, tmp_path):
    index(tmp_path / "configured", torch=CUDA, click="8.9")
    index(tmp_path / "pytorch", torch=CPU)
    maker.make(tmp_path / "made", ["torch>=2.6", "click"], pip=False)
    assert installed(tmp_path / "made") == {f"torch={CPU}", "click=8.9"}


def test_without_one_anywhere_nothing_is_installed_and_both_places_are_named(maker, tmp_path):
    index(tmp_path / "configured", torch=CUDA)
    with pytest.raises(maker.UnmadeError, match=r"neither from the configured.*pytorch") as error:
        maker.make(tmp_path / "made", ["torch>=2.6"], pip=False)
    assert len(str(error.value).splitlines()) == 1
    assert installed(tmp_path / "made") == set()


def test_with_a_driver_torch_is_what_the_index_has(maker, monkeypatch, tmp_path):
    monkeypatch.setattr(maker, "DRIVER", (tmp_path,))
    index(tmp_path / "configured", torch="2.14.0", click="8.9")
    maker.make(tmp_path / "made", ["torch>=2.6", "click"], pip=False)
    assert installed(tmp_path / "made") == {"torch=2.14.0", "click=8.9"}


def test_a_package_on_the_pythonpath_does_not_count_as_installed(maker, monkeypatch, tmp_path):
    index(tmp_path / "configured", click="8.9")
    elsewhere = tmp_path / "elsewhere"
    with zipfile.ZipFile(tmp_path / "configured" / "click" / wheel(tmp_path, "click", "8.9")) as archive:
        archive.extractall(elsewhere)
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    maker.make(tmp_path / "made", ["click"], torch=False, pip=False)
    assert "click=8.9" in installed(tmp_path / "made")


def test_what_measures_nothing_gets_no_torch_and_what_is_pinned(maker, tmp_path):
    index(tmp_path / "configured", click="8.9")
    (tmp_path / "pins").write_text("click==8.9\n")
    maker.make(tmp_path / "made", ["click"], torch=False, constraints=tmp_path / "pins", pip=False)
    assert installed(tmp_path / "made") == {"click=8.9"}


def test_a_torch_of_its_own_is_seen_and_nothing_is_installed(maker, monkeypatch, tmp_path):
    torch = maker.Torch("2.13.0+cpu", sees_gpu=False)
    monkeypatch.setattr(maker, "own_torch", lambda: torch)
    maker.make(tmp_path / "made", ["torch>=2.6", "numpy", "pydantic"], pip=False)
    assert {each.partition("=")[0] for each in installed(tmp_path / "made")} > {"torch", "numpy", "pydantic"}
    (packages,) = (tmp_path / "made").glob("lib/python3*/site-packages")
    assert not list(packages.glob("torch*"))


OWN, CPU_ONLY, ANY = "own", "cpu only", "as any package"


@pytest.mark.parametrize(
    ("driver", "own", "expected"),
    [
        (False, None, CPU_ONLY),
        (False, ("2.13.0+cpu", False), OWN),
        (False, ("2.13.0+cu130", False), OWN),
        (False, ("2.10.0a0+git", False), OWN),
        (False, ("2.5.1", False), CPU_ONLY),
        (True, None, ANY),
        (True, ("2.13.0+cu130", True), OWN),
        (True, ("2.13.0+cpu", False), ANY),
        (True, ("2.5.1+cu124", True), ANY),
    ],
)
def test_the_torch_fits_the_machine(driver, own, expected, maker):
    choice = maker.choose(driver, maker.Torch(*own) if own else None)
    assert (OWN if choice.own else CPU_ONLY if choice.installs else ANY) == expected
    assert all("--no-deps" in each and maker.CPU_BUILD in each for each in choice.installs)


def test_the_probe_reads_the_torch_that_is_there():
    found = load_action_file("environment.py").own_torch()
    assert found is not None
    assert re.match(r"\d+\.\d+", found.version)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("x\nERROR: Could not install: [Errno 28] No space left on device\n", "the disk is full; free some"),
        ("The virtual environment was not created, as ensurepip is not available.\n", "install python3-venv"),
        ("WARNING: Retrying after: [Errno -3] Temporary failure in name resolution\nERROR: No matching distribution",
         "the package index cannot be reached; check the network"),
        ("ERROR: No matching distribution found for click>=9\n", "found for click>=9"),
        ("Traceback\nValueError: odd\n\n", "ValueError: odd; try again"),
        ("", "nothing was printed; try again"),
    ],
)  # fmt: skip
def test_a_failure_is_explained_in_one_line(printed, said, maker):
    line = maker.explain(printed)
    assert said in line
    assert len(line.splitlines()) == 1


def test_the_oldest_torch_is_the_one_that_the_project_asks_for(maker):
    project = tomllib.loads((ACTIONS.parents[1] / "pyproject.toml").read_text())["project"]
    assert f"torch>={'.'.join(map(str, maker.OLDEST))}" in project["optional-dependencies"]["measure"]


def test_the_makefiles_way_in_says_what_failed_and_ends_with_69(tmp_path):
    (tmp_path / "a_file").touch()
    command = [sys.executable, "-I", ACTIONS / "environment.py", tmp_path / "a_file", "click"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert done.stderr.startswith("kernel-gate: ")
    assert len(done.stderr.splitlines()) == 1
