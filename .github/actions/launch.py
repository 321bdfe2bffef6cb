"""Runs one command of the Kernel Gate beside this file, in a private virtual environment of its own.

`python3 -I launch.py COMMAND` makes the environment under the runner's temporary folder, or finds it there by the
hash of what goes into it, and becomes `kernel-gate COMMAND`. Options come from KERNEL_GATE_COMMAND_OPTION.
Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
MEASURING = ("build", "measure-sdpa", "measure-candidate", "run", "baseline", "fuzz", "doctor")
DRAWING = (*MEASURING, "gate")
NEEDED_BY = {
    "torch": MEASURING,
    "ninja": MEASURING,
    "nvidia-ml-py": MEASURING,
    "setuptools": MEASURING,
    "matplotlib": DRAWING,
    "jinja2": DRAWING,
}
"""The commands that a dependency is for, where it is not for all. Commenting is done on small machines."""


def main() -> None:
    """Becomes the command; does not return."""
    command, *rest = sys.argv[1:]
    note_output(command)
    python = os.environ.get("KERNEL_GATE_PYTHON") or str(environment(command))
    builds = {"KERNEL_GATE_CACHE": str(temporary() / "kernel-gate-builds")}  # a job's own: none finds another's there
    paths = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    os.execve(python, [python, "-m", "scripts.cli", command, *rest], {**builds, **os.environ, **paths})  # noqa: S606


def environment(command: str) -> Path:
    """The Python of the virtual environment, made where it is not there yet."""
    wanted = requirements(command)
    has_torch = importlib.util.find_spec("torch") is not None
    shared = command in MEASURING and has_torch  # the machine's own torch fits its driver
    parts = (sys.version, sys.executable, str(shared), CONSTRAINTS.read_text(), *wanted)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    folder = temporary() / f"kernel-gate-{key}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)  # half made, by a job that was ended
        make(folder, python, shared, wanted)
    return python


def temporary() -> Path:
    """A folder that the runner empties before and after every job."""
    return Path(os.environ.get("RUNNER_TEMP") or tempfile.gettempdir())


def make(folder: Path, python: Path, shared: bool, wanted: list[str]) -> None:
    """A virtual environment with what is wanted; `ready` is the last thing in it."""
    options = ["--system-site-packages"] if shared else []
    constraints = [] if shared else ["--constraint", str(CONSTRAINTS)]
    pip = [str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    subprocess.run([sys.executable, "-I", "-m", "venv", *options, str(folder)], check=True)
    subprocess.run([*pip, *constraints, *wanted], check=True)
    (folder / "ready").touch()


def requirements(command: str) -> list[str]:
    """The dependencies of pyproject.toml, without those that are only for other commands."""
    import tomllib  # noqa: PLC0415  # from 3.11 on; what is older is told so by the last lines

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [each for each in declared if command in NEEDED_BY.get(re.split(r"[^\w-]", each)[0], (command,))]


def note_output(command: str) -> None:
    """The step's output `file`: where the command writes. Several lines would be several outputs: refused."""
    out, report = (written_by(command, option) for option in ("OUT", "REPORT"))
    path = os.environ.get("GITHUB_OUTPUT")
    if len(out.splitlines()) > 1:
        sys.exit("kernel-gate: `out` has more than one line; name a plain path")
    for each in filter(None, (out, report)):
        Path(each).unlink(missing_ok=True)  # what an earlier job left on this runner is not this one's
    if out and path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"file={out}\n")


def written_by(command: str, option: str) -> str:
    """The file that an option of the command names; empty where it names none."""
    return os.environ.get(f"KERNEL_GATE_{command.upper().replace('-', '_')}_{option}", "")


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # the runner's own Python, which may be any
        sys.exit(
            f"kernel-gate: Python 3.11 or newer is needed, and this is {sys.version.split()[0]}; use setup-python"
        )
    main()
