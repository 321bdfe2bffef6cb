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

from gate.errors import GateError, UnfitEnvironmentError
from gate.machine import scratch
from gate.machine.programs import stripped_environment
from gate.records import Status
from gate.sandbox import bootstrap
from gate.settings.model import LimitSettings

START_S = 180.0
"""How long the server may take to import torch, on a busy machine from a cold disk. Its end is noticed at once."""
GRACE_S = 30.0
"""How long the server may take beyond its job's limit: to fork, to kill, to read what was printed."""
EXIT_S = 2.0
"""How long a server that hung up may take to print why, and to exit."""
STATUS_BY_CAUSE = {"time": Status.TIMED_OUT, "memory": Status.OUT_OF_MEMORY, "server": Status.CRASHED}
"""How a job ended that was ended, by the cause."""
TRUSTED_JOBS = ("environment", "referee")
"""Kinds of jobs that never load a candidate: no limit of the candidate's is theirs."""
UNBOUND = LimitSettings(memory_mb=1 << 20, file_mb=1 << 20)
"""For these: 1 TiB. They take what the machine was found to have."""


@dataclass(frozen=True, slots=True)
class Exit:
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
            return STATUS_BY_CAUSE[self.cause]
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
    def last_output_line(self) -> str:
        """The last line that it printed."""
        return last_line(self.output)


def last_line(output: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(output.splitlines()) if line.strip()), "")


def _signal_name(number: int) -> str:
    import signal

    return signal.Signals(number).name


@dataclass
class _Server:
    """The server's process, the file of what it prints, and whether it has said that it can take jobs."""

    process: subprocess.Popen[str]
    printed: int
    ready: bool = False

    def exit_code(self) -> int | None:
        """Of a server that ended by itself or was killed; None where it still lives."""
        try:
            return self.process.wait(timeout=EXIT_S)
        except subprocess.TimeoutExpired:
            return None

    def close(self, patience_s: float) -> str:
        """Hangs up, upon which the server ends; or else ends it. Returns all that it printed."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # it ended before us, and a request was left unread
                    pipe.close()
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        printed = os.pread(self.printed, os.fstat(self.printed).st_size, 0)
        os.close(self.printed)
        return printed.decode(errors="replace")


class WorkerServer:
    """A fork server, from its first use or `start`; leaving the context ends it and whatever job it runs."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._caches: str | None = None
        self._server: _Server | None = None

    def __enter__(self) -> WorkerServer:
        self._caches = self._stack.enter_context(scratch.temporary_folder())
        return self

    def start(self) -> WorkerServer:
        """Begins to import torch, so that a later call need not wait for it."""
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._caches = None
        self._stack.close()
        scratch.remove_leftovers()

    def call(self, job: Mapping[str, Any], seconds: float) -> Exit:
        """Runs one job in a fresh process.

        The server holds the job to `seconds`; we hold the server to a little more, for a job may stop it. A job whose
        server was killed or stopped has crashed, and the next has a new server. Raises UnfitEnvironmentError where
        the server cannot be started, or fails by itself.
        """
        server, started = self._ready(), time.monotonic()
        bound = UNBOUND if job.get("kind") in TRUSTED_JOBS else self._limits
        limits = {"seconds": seconds, "memory_mb": bound.memory_mb, "file_mb": bound.file_mb}
        request = {"job": job, "limits": limits, "caches": self._root_of_caches()}
        answer = _answer(server.process, json.dumps(request), seconds + GRACE_S)
        if answer:
            return Exit(**json.loads(answer))
        code = server.exit_code()  # before we hang up, upon which it would exit as well
        printed = self._end(patience_s=0.0)
        if code is not None and code > 0:
            raise UnfitEnvironmentError(f"the fork server failed: {_reason(code, printed)}; see `kernel-gate doctor`")
        return Exit("", server.process.returncode, "server", time.monotonic() - started, 0, "")

    def _running(self) -> _Server:
        self._root_of_caches()
        if self._server is not None and self._server.ready and self._server.process.poll() is not None:
            self._end()  # it ended while no job ran: no job's fault
        self._server = self._server or _start()
        return self._server

    def _ready(self) -> _Server:
        """The server, once it has imported torch. Raises UnfitEnvironmentError where that never comes to be."""
        server = self._running()
        if not server.ready and not _line(server.process, START_S):
            code = server.exit_code()
            raise _not_started(_reason(code, self._end(patience_s=0.0)))
        server.ready = True
        return server

    def _end(self, patience_s: float = 10.0) -> str:
        """Ends the server, where there is one; the next call would start another. Returns all that it printed."""
        server, self._server = self._server, None
        return server.close(patience_s) if server else ""

    def _root_of_caches(self) -> str:
        """Where candidate_caches.py makes a folder for each candidate. Raises GateError outside of the context."""
        if self._caches is None:
            raise GateError("the fork server was not started; use it as a context manager")
        return self._caches


def _start() -> _Server:
    printed = os.memfd_create("kernel-gate-server")  # a pipe would fill up, and a disk may be full
    try:
        process = subprocess.Popen(
            bootstrap.command("gate.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            env=stripped_environment(os.environ),
            start_new_session=True,  # Ctrl-C reaches us alone; the server ends when we hang up
        )
    except OSError as error:
        os.close(printed)
        raise _not_started(str(error)) from None
    return _Server(process, printed)


def _reason(code: int | None, printed: str) -> str:
    """Why there is no server: its last line, where it exited by itself and printed one."""
    if code is None:
        return f"it was not ready after {START_S:.0f} s"
    if code < 0:
        return f"it was ended by {_signal_name(-code)}"
    return last_line(printed) or f"it exited with code {code}"


def _not_started(reason: str) -> UnfitEnvironmentError:
    python = sys.executable or "python3"
    absent = "ModuleNotFoundError" in reason
    install = f"install Kernel Gate's dependencies for this Python: {python} -m pip install kernel-gate"
    remedy = install if absent else f"see whether `{python} -c 'import torch'` works here"
    return UnfitEnvironmentError(f"the fork server did not start: {reason}; {remedy}")


def _answer(process: subprocess.Popen[str], request: str, limit_s: float) -> str:
    """One line for a line; empty where the server is gone, or says nothing for so long."""
    if process.stdin is None:
        raise GateError("the fork server has no pipes; report this")
    try:
        process.stdin.write(request + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    return _line(process, limit_s)


def _line(process: subprocess.Popen[str], limit_s: float) -> str:
    """The next line that it answers; empty where it has ended, or says nothing for so long."""
    if process.stdout is None:
        raise GateError("the fork server has no pipes; report this")
    answered, _, _ = select.select([process.stdout], [], [], limit_s)
    return process.stdout.readline() if answered else ""
