"""Machines that lack something: tiny disks, and processes of their own with limits, or as another user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 12345
"""A user that no machine knows: without a home folder, and without rights."""
SMALL_RUN = ("run", "--impl", "cpu_tiled", "--device", "cpu", "--shape", "1,2,64,32", "--replicates", "5")


@contextmanager
def tiny_disk(folder: Path, size: str = "64k") -> Iterator[Path]:
    """A disk of so many bytes. Skips the test where it may not be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a tiny disk can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def in_a_process(code: str, *, variables: dict[str, str] | None = None, **options: object) -> tuple[int, str, str]:
    """Python code in a process of its own, in which all of `gate` can be imported: exit code, output, errors."""
    root = str(Path(__file__).parents[2])
    text = f"import os, resource, sys\nsys.path.insert(0, {root!r})\n{code}"
    environment = {**os.environ, **(variables or {})}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    done = subprocess.run([sys.executable, "-c", text], env=environment, check=False, **(streams | options))  # type: ignore[call-overload]
    said = [(each or b"").decode(errors="replace") for each in (done.stdout, done.stderr)]
    return done.returncode, said[0], said[1]


def command_line(*arguments: object) -> str:
    """Code that is `kernel-gate` with these arguments."""
    return f"from scripts import cli\ncli.main({[str(each) for each in arguments]!r})"
