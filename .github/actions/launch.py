"""Runs one command of the Kernel Gate beside this file, in a private virtual environment of its own.

`python3 -I launch.py COMMAND` makes the environment under the runner's temporary folder, or finds it there by the
hash of what goes into it, and becomes `kernel-gate COMMAND`. Options come from KERNEL_GATE_COMMAND_OPTION.
Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS, MAKER = (Path(__file__).with_name(name) for name in ("constraints.txt", "environment.py"))
EXTRAS = ROOT / "scripts" / "extras.py"


def main() -> None:
    """Becomes the command; does not return."""
    if len(sys.argv) < 2:
        stop(64, "no command; python3 -I launch.py COMMAND")
    command, *rest = sys.argv[1:]
    note_output(command)
    maker = module(MAKER)
    try:
        python = os.environ.get("KERNEL_GATE_PYTHON") or str(environment(command, maker))
        builds = {
            "KERNEL_GATE_CACHE": str(temporary() / "kernel-gate-builds")
        }  # a job's own: none finds another's there
        paths = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        os.execve(python, [python, "-m", "scripts.cli", command, *rest], {**builds, **os.environ, **paths})  # noqa: S606
    except maker.UnmadeError as error:
        stop(69, str(error))
    except OSError as error:
        stop(69, f"{error.filename}: {error.strerror}; see RUNNER_TEMP and KERNEL_GATE_PYTHON")


def stop(code: int, message: str) -> NoReturn:
    """Ends with one line; the codes are those of every command."""
    print(f"kernel-gate: {message}", file=sys.stderr)
    sys.exit(code)


def module(path: Path) -> ModuleType:
    """The file beside this one, though `-I` has no path to it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    sys.dont_write_bytecode = True  # the checkout stays as it is
    loaded = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def environment(command: str, maker: ModuleType) -> Path:
    """The Python of the virtual environment, made where it is not there yet. Raises OSError, and the maker's own."""
    wanted, measures = requirements(command), "measure" in extras(command)
    torch = importlib.util.find_spec("torch") if measures else None
    texts = (path.read_text() for path in (CONSTRAINTS, MAKER))
    parts = (sys.version, sys.executable, str(torch and torch.origin), str(maker.has_driver()), *texts, *wanted)
    folder = temporary() / f"kernel-gate-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
    with locked(folder.with_suffix(".lock")):
        if not (folder / "ready").exists():
            make(folder, wanted, measures, maker)
    return folder / "bin" / "python"


def temporary() -> Path:
    """A folder that the runner empties before and after every job; elsewhere one that nobody else can write to."""
    if given := os.environ.get("RUNNER_TEMP"):
        return Path(given)
    folder = Path(tempfile.gettempdir()) / f"kernel-gate-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        stop(69, f"{folder} belongs to somebody else; set RUNNER_TEMP to a folder of your own")
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """For one process at a time: two jobs may need the same environment. What pip starts keeps the lock as well."""
    with path.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                "kernel-gate: waiting for another job, which makes the same environment", file=sys.stderr, flush=True
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(folder: Path, wanted: Sequence[str], measures: bool, maker: ModuleType) -> None:
    """A virtual environment with what is wanted; `ready` is the last thing in it. Of a failure nothing stays."""
    shutil.rmtree(folder, ignore_errors=True)  # half made, by a job that was ended
    try:
        maker.make(folder, wanted, torch=measures, constraints=CONSTRAINTS, pip=False)
        (folder / "ready").touch()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def requirements(command: str) -> list[str]:
    """The dependencies in pyproject.toml, and those of the extras that the command needs."""
    import tomllib  # noqa: PLC0415  # from 3.11 on; what is older is told so by the last lines

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = (project["optional-dependencies"][extra] for extra in extras(command))
    return [*project["dependencies"], *itertools.chain.from_iterable(more)]


def extras(command: str) -> tuple[str, ...]:
    """What measures also gets what draws, so that all commands of a job on the GPU find one environment."""
    needed: tuple[str, ...] = module(EXTRAS).NEEDS.get(command, ())
    return ("measure", "report") if "measure" in needed else needed


def note_output(command: str) -> None:
    """The step's output `file`: where the command writes. Several lines would be several outputs: refused."""
    out, report = (written_by(command, option) for option in ("OUT", "REPORT"))
    path = os.environ.get("GITHUB_OUTPUT")
    if len(out.splitlines()) > 1:
        stop(64, "`out` has more than one line; name a plain path")
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
        stop(69, f"Python 3.11 or newer is needed, and this is {sys.version.split()[0]}; use setup-python")
    main()
