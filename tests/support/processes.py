"""Looking at processes from outside, and waiting for what must come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DEADLINE_S = 60.0
"""How long to wait: never reached on a machine that works."""
T = TypeVar("T")


def eventually(condition: Callable[[], object]) -> bool:
    """Whether the condition comes true before the deadline, if only once."""
    deadline = time.monotonic() + DEADLINE_S
    while not (came := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(came)


def patiently(attempt: Callable[[float], T], came_so_far: Callable[[T], object]) -> T:
    """What is ended after a second, or after longer where it had not come so far by then."""
    for seconds in (1.0, 4.0, 16.0, DEADLINE_S):
        if came_so_far(seen := attempt(seconds)):
            break
    return seen


def processes_named(name: str) -> list[int]:
    """All that have that name now, of at most 15 characters (proc_pid_comm(5))."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if _read(path) == f"{name}\n"]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""


def alive(pid: int) -> bool:
    """Whether a process exists, and is more than a zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
