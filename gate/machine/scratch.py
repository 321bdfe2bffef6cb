"""A job's temporary folder: created before the job starts, and removed, with all files in it, after the job."""

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
"""The environment variables that name the temporary folder."""
PREFIX = "kg-"
MAX_PARENT_CHARS = 50
"""A socket's path has at most 107 characters (unix(7)): these, 24 for two subfolders, and 32 for multiprocessing."""
SHORT_PARENT = "/tmp"  # noqa: S108  # mkdtemp makes unpredictable names in it
OPEN, REMOVE = ("chmod", "-R", "u+rwx", "--"), ("rm", "-rf", "--")
"""Unlike shutil.rmtree, coreutils need no stack frame and no open file per level of a tree; they follow no links."""
REMOVAL_S = 10.0
"""Time limit of each of the two commands. Their sum is less than the server's grace after a job (GRACE_S)."""

_left: list[str] = []


@contextlib.contextmanager
def temporary_folder(parent: str | None = None) -> Iterator[str]:
    """Creates a folder that only this user may enter, in `parent` or in the default temporary folder.

    Raises UnfitEnvironmentError if the folder cannot be created.
    """
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=parent or parent_folder())
    except OSError as error:
        reason = f"cannot create a job's temporary folder: {error}"
        raise UnfitEnvironmentError(f"{reason}; free some space, or set TMPDIR to another folder") from error
    try:
        yield folder
    finally:
        remove(folder)


def parent_folder() -> str:
    """Python's temporary folder, or /tmp if the path of a socket in the former would be too long."""
    chosen = tempfile.gettempdir()
    usable = os.access(SHORT_PARENT, os.W_OK | os.X_OK)
    return SHORT_PARENT if len(chosen) > MAX_PARENT_CHARS and usable else chosen


def use_for_temporary_files(folder: str) -> None:
    """Makes `folder` the temporary folder of this process and of all processes that it starts."""
    os.environ.update(dict.fromkeys(VARIABLES, folder))
    tempfile.tempdir = folder


def remove(folder: str) -> None:
    """Removes the folder; if this takes longer than REMOVAL_S, `remove_leftovers` removes it later."""
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
    except subprocess.TimeoutExpired:  # the removal must not go on during the next job, which may be timed
        _left.append(folder)


def remove_leftovers() -> None:
    """Starts the removal of the folders that are left and does not wait: for a process that is about to exit."""
    while _left:
        behind = ["sh", "-c", f'{{ {" ".join(OPEN)} "$0"; {" ".join(REMOVE)} "$0"; }} &', _left.pop()]
        run_program(behind, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
