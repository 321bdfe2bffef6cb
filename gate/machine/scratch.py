"""A job's temporary folder: its own, made before the job begins, and removed with whatever the job left there."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gate.errors import UnfitEnvironmentError
from gate.machine.programs import run_program

VARIABLES = ("TMPDIR", "TMP", "TEMP")
"""By which programs find their temporary folder."""
PREFIX = "kg-"
MAX_PARENT_CHARS = 50
"""A socket's path has at most 107 characters (unix(7)): these, 24 of two folders below, and 32 of multiprocessing."""
SHORT_PARENT = "/tmp"  # noqa: S108  # what is made there has a name that nobody can foretell
OPEN, REMOVE = ("chmod", "-R", "u+rwx", "--"), ("rm", "-rf", "--")
"""Coreutils need neither a stack nor an open file for each level of a deep tree, and follow no symbolic link."""
REMOVAL_S = 10.0
"""The longest that either may take: less, together, than the server may take beyond its job (workers.GRACE_S)."""

_left: list[str] = []


@contextlib.contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[str]:
    """A new folder that only this user may enter, in `parent` or among the user's temporary files.

    Raises UnfitEnvironmentError where none can be made.
    """
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent or parent_folder())
    except OSError as error:
        reason = f"cannot make a job's temporary folder: {error}"
        raise UnfitEnvironmentError(f"{reason}; free some space, or set TMPDIR to another folder") from error
    try:
        yield folder
    finally:
        remove(folder)


def parent_folder() -> str:
    """Where Python has its temporary files, unless a socket's path would be too long there."""
    chosen = tempfile.gettempdir()
    usable = os.access(SHORT_PARENT, os.W_OK | os.X_OK)
    return SHORT_PARENT if len(chosen) > MAX_PARENT_CHARS and usable else chosen


def adopt(folder: str) -> None:
    """Makes it the temporary folder of this process and of all that it starts."""
    os.environ.update(dict.fromkeys(VARIABLES, folder))
    tempfile.tempdir = folder


def remove(folder: str) -> None:
    """Removes it; what takes longer than REMOVAL_S is left for `remove_leftovers`."""
    try:
        Path(folder).rmdir()  # most jobs leave nothing
    except FileNotFoundError:
        return
    except OSError:
        _remove_tree(folder)


def _remove_tree(folder: str) -> None:
    commands = [REMOVE] if Path(folder).is_symlink() else [OPEN, REMOVE]
    try:
        for command in commands:
            run_program([*command, folder], timeout=REMOVAL_S)
    except subprocess.TimeoutExpired:  # it must not work on beside the next job, which may be timed
        _left.append(folder)


def remove_leftovers() -> None:
    """Starts to remove the rest, and does not wait for it: for a process that is about to end."""
    while _left:
        behind = ["sh", "-c", f'{{ {" ".join(OPEN)} "$0"; {" ".join(REMOVE)} "$0"; }} &', _left.pop()]
        run_program(behind, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
