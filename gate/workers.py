"""The other end of the fork server: starts it, asks it, and names how each job ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from gate.errors import GateError
from gate.programs import stripped_environment
from gate.records import Status
from gate.settings import LimitSettings

GRACE_S = 30.0
"""How long the server may take beyond its job's limit: to fork, to kill, to read what was printed."""
ENDED = {"time": Status.TIMED_OUT, "memory": Status.OUT_OF_MEMORY, "server": Status.CRASHED}
"""How a job ended that was ended, by the cause."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job's process ended. `reply` is what it said, and to be trusted no more than the candidate is."""

    reply: str
    state: int
    cause: str | None
    seconds: float
    peak_bytes: int
    output: str

    @property
    def status(self) -> Status:
        """`ok` where it answered and left by itself."""
        if self.cause is not None:
            return ENDED[self.cause]
        return Status.OK if self.state == 0 and self.reply else Status.CRASHED

    @property
    def replies(self) -> list[str]:
        """The reply to each request. Raises GateError where that is not what was said."""
        try:
            said = json.loads(self.reply)
        except ValueError:
            said = None
        if not (isinstance(said, list) and all(isinstance(each, str) for each in said)):
            raise GateError("the answer of the candidate's process is not a list of records")
        return said

    @property
    def message(self) -> str:
        """One sentence on an ending that is not ok."""
        if self.cause == "time":
            return f"did not end within {self.seconds:.0f} s and was killed"
        if self.cause == "memory":
            return f"held {self.peak_bytes / 2**20:.0f} MB, more than its limit (limits.memory_mb), and was killed"
        if self.cause == "server":
            return "was gone with the server that ran it, which ended or was stopped, as an attack on it would do"
        if os.WIFSIGNALED(self.state):
            return f"was ended by {_signal_name(os.WTERMSIG(self.state))}"
        return f"exited with code {os.WEXITSTATUS(self.state)} before it answered"

    @property
    def last_words(self) -> str:
        """The last line that it printed."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


def _signal_name(number: int) -> str:
    import signal

    return signal.Signals(number).name


class WorkerServer:
    """A fork server, from its first use or `start`; leaving the context ends it and whatever job it runs."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._entered = False
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> WorkerServer:
        self._entered = True
        return self

    def start(self) -> WorkerServer:
        """Begins to import torch, so that a later call need not wait for it."""
        self._running()
        return self

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "gate.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=stripped_environment(os.environ),
            start_new_session=True,  # Ctrl-C reaches us alone; the server ends when we hang up
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        if self._process is not None:
            self._end(self._process)

    def _end(self, process: subprocess.Popen[str], patience_s: float = 10.0) -> None:
        """Hangs up, upon which the server ends; or else ends it. The next call would start another."""
        self._process = None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # it ended before us, and a request was left unread
                    pipe.close()
        try:
            process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def call(self, job: Mapping[str, Any], seconds: float) -> Ending:
        """Runs one job in a fresh process.

        The server holds the job to `seconds`; we hold the server to a little more, for a job may stop it. A job whose
        server is gone has crashed, and the next has a new server.
        """
        process, started = self._running(), time.monotonic()
        limits = {"seconds": seconds, "memory_mb": self._limits.memory_mb, "file_mb": self._limits.file_mb}
        answer = _answer(process, json.dumps({"job": job, "limits": limits}), seconds + GRACE_S)
        if answer:
            return Ending(**json.loads(answer))
        self._end(process, patience_s=0.0)
        return Ending("", process.returncode, "server", time.monotonic() - started, 0, "")

    def _running(self) -> subprocess.Popen[str]:
        if not self._entered:
            raise GateError("the fork server was not started; use it as a context manager")
        self._process = self._process or self._started()
        return self._process


def _answer(process: subprocess.Popen[str], request: str, limit_s: float) -> str:
    """One line for a line; empty where the server is gone, or says nothing for so long."""
    if process.stdin is None or process.stdout is None:
        raise GateError("the fork server has no pipes; report this")
    try:
        process.stdin.write(request + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    answered, _, _ = select.select([process.stdout], [], [], limit_s)
    return process.stdout.readline() if answered else ""
