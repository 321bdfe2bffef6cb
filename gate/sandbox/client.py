"""The client of the fork server: starts it, sends it one job at a time, and ends it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import IO

from gate.errors import GateError, UnfitEnvironmentError
from gate.machine import scratch
from gate.machine.programs import stripped_environment
from gate.records.codec import records_to_json
from gate.sandbox import bootstrap
from gate.sandbox.job import Answer, Exit, Job, JobKind, Request, last_line, make_job, signal_name
from gate.sandbox.message import read_message, write_message
from gate.settings.model import LimitSettings

START_S = 180.0
"""How long the server may take to import torch, on a busy machine from a cold disk. Its end is noticed at once."""
GRACE_S = 30.0
"""How long the server may take beyond its job's limit: to fork, to kill, and to read the output."""
EXIT_S = 2.0
"""How long a server that closed its pipe may take to print the reason and to exit."""


@dataclass
class _Server:
    """The server's process, the file that has its output, and whether it can take jobs by now."""

    process: subprocess.Popen[bytes]
    output: int
    ready: bool = False

    def exit_code(self) -> int | None:
        """The exit code of a server that ended or was killed; None if it is still running."""
        try:
            return self.process.wait(timeout=EXIT_S)
        except subprocess.TimeoutExpired:
            return None

    def close(self, patience_s: float) -> str:
        """Closes the pipes, upon which the server should end; kills it if it does not. Returns all its output."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # the server ended first, and left a message unread
                    pipe.close()
        try:
            self.process.wait(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        output = os.pread(self.output, os.fstat(self.output).st_size, 0)
        os.close(self.output)
        return output.decode(errors="replace")


class WorkerServer:
    """A fork server, which starts at its first use or at `start`. Leaving the context ends it and its job."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._stack = contextlib.ExitStack()
        self._caches: str | None = None
        self._server: _Server | None = None

    def __enter__(self) -> WorkerServer:
        self._caches = self._stack.enter_context(scratch.temporary_folder())
        return self

    def start(self) -> WorkerServer:
        """Starts the import of torch now, so that a later call does not wait for it."""
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._caches = None
        self._stack.close()
        scratch.remove_leftovers()

    def call(self, kind: JobKind[Request, Answer], requests: Sequence[Request], seconds: float) -> Exit:
        """Runs one job in a fresh process, and returns how it ended (gate/sandbox/calls.py reads its answers).

        The server holds the job to `seconds`; this process holds the server to a little more, because a job may stop
        the server. A job whose server was killed or stopped has crashed, and the next job has a new server. Raises
        UnfitEnvironmentError if the server cannot be started, or fails by itself.
        """
        server, started = self._ready(), time.monotonic()
        job = make_job(kind, requests, seconds, self._limits, self._root_of_caches())
        answer = _send(server.process, job, records_to_json(kind.request, requests), seconds + GRACE_S)
        if answer is not None:
            ending, reply = answer
            return replace(ending, reply=reply)
        code = server.exit_code()  # before its input is closed, upon which it would exit as well
        output = self._end(patience_s=0.0)
        if code is not None and code > 0:
            raise UnfitEnvironmentError(f"the fork server failed: {_reason(code, output)}; see `kernel-gate doctor`")
        return Exit(b"", server.process.returncode, "server", time.monotonic() - started, 0, "")

    def _running(self) -> _Server:
        self._root_of_caches()
        if self._server is not None and self._server.ready and self._server.process.poll() is not None:
            self._end()  # it ended while no job ran, which is no job's fault
        self._server = self._server or _start()
        return self._server

    def _ready(self) -> _Server:
        """Waits until the server has imported torch. Raises UnfitEnvironmentError if that fails."""
        server = self._running()
        if not server.ready and not (_answers(server.process, START_S) and _pipes(server.process)[1].readline()):
            code = server.exit_code()
            raise _not_started(_reason(code, self._end(patience_s=0.0)))
        server.ready = True
        return server

    def _end(self, patience_s: float = 10.0) -> str:
        """Ends the server, if one is running; the next call starts another. Returns all its output."""
        server, self._server = self._server, None
        return server.close(patience_s) if server else ""

    def _root_of_caches(self) -> str:
        """The folder in which each candidate's caches get their own folder. Raises GateError outside the context."""
        if self._caches is None:
            raise GateError("the fork server was not started; use it as a context manager")
        return self._caches


def _start() -> _Server:
    output = os.memfd_create("kernel-gate-server")  # a pipe would fill up, and a disk may be full
    try:
        process = subprocess.Popen(
            bootstrap.command("gate.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=stripped_environment(os.environ),
            start_new_session=True,  # Ctrl-C reaches this process alone; the server ends when its pipe is closed
        )
    except OSError as error:
        os.close(output)
        raise _not_started(str(error)) from None
    return _Server(process, output)


def _reason(code: int | None, output: str) -> str:
    """Why there is no server: the last line of its output, if it exited by itself and printed one."""
    if code is None:
        return f"it was not ready after {START_S:.0f} s"
    if code < 0:
        return f"it was ended by {signal_name(-code)}"
    return last_line(output) or f"it exited with code {code}"


def _not_started(reason: str) -> UnfitEnvironmentError:
    python = sys.executable or "python3"
    absent = "ModuleNotFoundError" in reason
    install = f"install Kernel Gate's dependencies for this Python: {python} -m pip install kernel-gate"
    remedy = install if absent else f"see whether `{python} -c 'import torch'` works here"
    return UnfitEnvironmentError(f"the fork server did not start: {reason}; {remedy}")


def _send(process: subprocess.Popen[bytes], job: Job, requests: bytes, limit_s: float) -> tuple[Exit, bytes] | None:
    """The server's answer; None if the server is gone, or does not answer within the limit."""
    to_server, from_server = _pipes(process)
    try:
        write_message(to_server, job, requests)
    except BrokenPipeError:
        return None
    return read_message(from_server, Exit) if _answers(process, limit_s) else None


def _answers(process: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Whether the server writes something, or ends, within the limit."""
    ready, _, _ = select.select([_pipes(process)[1]], [], [], limit_s)
    return bool(ready)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """To the server and from it."""
    if process.stdin is None or process.stdout is None:
        raise GateError("the fork server has no pipes; report this")
    return process.stdin, process.stdout
