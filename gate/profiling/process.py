"""A program under a time limit, in a session of its own that is ended as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OUTPUT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended. `code` is absent where it had to be ended."""

    code: int | None
    output: str
    seconds: float


def run_limited(command: Sequence[str], environment: Mapping[str, str], limit_s: float) -> Finished:
    """Runs the program; once it is over, or late, ends all that it started. Raises OSError where it cannot start."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:  # a pipe would stay open for as long as a daemon that was left behind
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout=limit_s)
        finally:
            _end(process)
        size = os.fstat(output.fileno()).st_size
        said = os.pread(output.fileno(), OUTPUT_BYTES, max(0, size - OUTPUT_BYTES))
    return Finished(code, said.decode(errors="replace"), time.monotonic() - started)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the group, and what left the group but is still below the process."""
    below = [] if process.poll() is not None else list(_descendants(process.pid))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> Iterator[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it ended meanwhile
        return
    for child in (int(each) for text in lists for each in text.split()):
        yield child
        yield from _descendants(child)
