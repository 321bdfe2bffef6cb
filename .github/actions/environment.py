"""Makes a virtual environment with the build of PyTorch that fits this machine: for launch.py, and for the Makefile.

`python3 -I environment.py FOLDER ARGUMENT...` makes or completes FOLDER: torch first, then what pip's arguments name.

    an NVIDIA driver    this Python's own torch where it sees the GPU; else the newest of the configured index
    no driver           this Python's own torch; else the CPU build: of the configured index, else of PyTorch's own

An open range such as `torch>=2.6` fetches 5 GB of CUDA packages that a machine without a driver cannot use.
Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import site
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST = (2, 6)
"""What pyproject.toml asks of torch."""
CPU_BUILD = "torch==2.13.0+cpu"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))
"""There where an NVIDIA driver is: on Linux, and on Linux within Windows."""
PROBE = "import json, torch; print(json.dumps([torch.__version__, torch.cuda.is_available()]))"
FULL = "the disk is full"
RETRIES = "2"
"""Without a network, pip's own five would take ten seconds for each package index."""
MOST_QUOTED = 160
"""Characters of what was printed: the last, as the reason stands at the end."""
REASONS = (
    (r"No space left|Disk quota", FULL, "free some of it, or set RUNNER_TEMP to a folder on another disk"),
    (r"ensurepip|No module named '?venv", "this Python makes no virtual environments", "install python3-venv"),
    (
        r"name resolution|NewConnectionError|Max retries|[Tt]imed? ?out|unreachable|ProxyError|SSLError|Connection",
        "the package index cannot be reached",
        "check the network, and pip's settings (pip config list)",
    ),
    (r"No matching distribution", "the package index lacks a package", "check pip's settings (pip config list)"),
)
"""What venv and pip print, what it means, and what to do."""


class UnmadeError(Exception):
    """There is no environment, for the reason that it gives in one line."""


@dataclass(frozen=True)
class Torch:
    """A torch that this Python has already, and whether it can use a GPU."""

    version: str
    sees_gpu: bool


@dataclass(frozen=True)
class Choice:
    """Where torch comes from: this Python; or else the first of these, pip's arguments, that succeeds."""

    own: bool = False
    installs: tuple[tuple[str, ...], ...] = ()
    """Empty where torch needs no other treatment than any package."""


def choose(driver: bool, own: Torch | None) -> Choice:
    """The build of torch that fits a machine."""
    if own is not None and _numbers(own.version) >= OLDEST and (own.sees_gpu or not driver):
        return Choice(own=True)
    if driver:
        return Choice()
    return Choice(installs=(("--no-deps", CPU_BUILD), ("--no-deps", CPU_BUILD, "--index-url", CPU_INDEX)))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:2])


def has_driver() -> bool:
    """Whether an NVIDIA driver is installed, working or not."""
    return any(each.exists() for each in DRIVER)


def own_torch() -> Torch | None:
    """The torch of the Python that runs this; None where it has none that can be imported."""
    done = subprocess.run([sys.executable, "-I", "-c", PROBE], capture_output=True, text=True, check=False)
    return Torch(*json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None


def make(
    folder: Path, wanted: Sequence[str], torch: bool = True, constraints: Path | None = None, pip: bool = True
) -> None:
    """An environment with what is wanted, and with pip or without. Raises UnmadeError.

    Constraints do not hold beside this Python's own torch, whose companions they may not fit.
    """
    if not (folder / "bin" / "python").exists():
        without = [] if pip or importlib.util.find_spec("pip") is None else ["--without-pip"]  # saves four seconds
        _run(folder, [sys.executable, "-I", "-m", "venv", *without, str(folder)])
    choice = choose(has_driver(), own_torch()) if torch else Choice()
    _add_torch(folder, choice)
    pinned = ["--constraint", str(constraints)] if constraints and not choice.own else []
    _install(folder, [*pinned, *wanted])


def _add_torch(folder: Path, choice: Choice) -> None:
    if choice.own:
        (packages,) = folder.glob("lib/python3*/site-packages")
        lines = (f"import site; site.addsitedir({each!r})\n" for each in site.getsitepackages())
        (packages / "own_torch.pth").write_text("".join(lines))
    elif choice.installs:
        _install_first(folder, choice.installs)


def _install_first(folder: Path, installs: Sequence[Sequence[str]]) -> None:
    """The first that can be had. Raises UnmadeError where none can."""
    for number, arguments in enumerate(installs, 1):
        try:
            _install(folder, arguments)
            break
        except UnmadeError as error:
            if FULL in str(error):
                raise
            if number == len(installs):
                places = f"{CPU_BUILD} comes neither from the configured package index nor from {CPU_INDEX}"
                raise UnmadeError(f"{error} ({places}; a torch of {sys.executable}'s own would do)") from None


def _install(folder: Path, arguments: Sequence[str]) -> None:
    python = str(folder / "bin" / "python")
    inside = any(folder.glob("lib/python3*/site-packages/pip"))
    pip = [python, "-I", "-m", "pip"] if inside else [sys.executable, "-I", "-m", "pip", "--python", python]
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--retries", RETRIES]
    _run(folder, [*pip, "install", *options, *arguments])


def _run(folder: Path, command: Sequence[str]) -> None:
    """What it starts keeps our lock, if we hold one: it may live longer than we do.

    Packages on a PYTHONPATH would count as installed, and the command that runs later does not see them.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", close_fds=False,
        env=environment, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise UnmadeError(f"cannot make the environment {folder}: {explain(done.stdout)}")


def explain(printed: str) -> str:
    """One line on why venv or pip failed, and what to do."""
    plain = re.sub(r"<[^<>]*>:?", "", printed)  # Python's names of objects
    lines = [line.strip() for line in plain.splitlines() if line.strip()] or ["nothing was printed"]
    for pattern, what, remedy in REASONS:
        if said := [line for line in lines if re.search(pattern, line)]:
            return f"{what}; {remedy}: {_end(said[-1])}"
    return f"{_end(lines[-1])}; try again, and report it if it stays"


def _end(line: str) -> str:
    return line if len(line) <= MOST_QUOTED else f"…{line[-MOST_QUOTED:]}"


def main() -> None:
    """The Makefile's way in."""
    folder, *arguments = sys.argv[1:]
    try:
        make(Path(folder), arguments)
    except (UnmadeError, OSError) as error:
        print(f"kernel-gate: {error}", file=sys.stderr)
        sys.exit(69)


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036  # whatever Python is called python3
        print(f"kernel-gate: Python 3.11 or newer is needed, and this is {sys.version.split()[0]}", file=sys.stderr)
        sys.exit(69)
    main()
