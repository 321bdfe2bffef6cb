"""The fork server: has torch imported, runs each job in a fresh process, and ends what does not end by itself.

`gate/bootstrap.py` starts it. It writes an empty line to standard output once it can take jobs. From then on it
speaks JSON lines: a request on standard input, one answer on standard output. A job runs in a session of its own, as
the leader of its process group, and says its reply through a pipe. When it is over, by whatever way, all that it
started is killed: this process is the subreaper of its descendants, so that a daemon that forked twice is found too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from gate import confinement

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
TICK_S = 0.05  # how often a job's memory and time are looked at
LAST_TICK_S = 0.002  # once its reply is complete: it should be gone at once
REPLY_BYTES = 64 << 20
OUTPUT_BYTES = 4000
PAGE = os.sysconf("SC_PAGE_SIZE")


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Answers one request a line until the other side hangs up."""
    from gate import jobs  # and torch with it, so that every fork has them

    jobs.prepare()
    confinement.prepare()
    confinement.conceal()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    answers.write("\n")
    answers.flush()
    for line in requests:
        answers.write(json.dumps(run_job(json.loads(line), requests)) + "\n")
        answers.flush()


def run_job(request: dict[str, Any], control: IO[str]) -> dict[str, Any]:
    """Runs `request["job"]` in a fresh process within `request["limits"]`, and tells how it ended."""
    read_end, write_end = os.pipe()
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            _become_job(request, write_end, output)
        os.close(write_end)
        ending = _Watch(pid, read_end, request["limits"], control).until_over()
        seconds = time.monotonic() - started
        ending |= {"seconds": seconds, "output": _tail(output)}
    return ending


def _become_job(request: dict[str, Any], reply: int, output: IO[bytes]) -> NoReturn:
    """The child's life. It leaves by `_exit`, so that nothing of the server's is run or flushed twice."""
    code = 1
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit(request["limits"])
        _redirect(output)
        _close_all_but(reply)
        _confine(request["job"])
        from gate import jobs

        _write_all(reply, jobs.run(request["job"]).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _limit(limits: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    size = limits["file_mb"] << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _redirect(output: IO[bytes]) -> None:
    """Standard input from nowhere; standard output and error into the file that the server reads back."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)


def _close_all_but(reply: int) -> None:
    """With the server's own descriptors, a candidate could answer in its name."""
    os.closerange(3, reply)
    os.closerange(reply + 1, os.sysconf("SC_OPEN_MAX"))


def _confine(job: dict[str, Any]) -> None:
    """A compiler writes into its own folder besides. The witness stays hidden from the candidate beside it.

    What watches a candidate is not confined: the program under it confines itself (gate/watching.py).
    """
    if job["kind"] == "watch":
        return
    folders = [json.loads(each)["directory"] for each in job["requests"]] if job["kind"] == "compile" else []
    confinement.conceal(job["kind"] == "referee")
    confinement.confine(folders)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.close(descriptor)


class _Watch:
    """Waits for one job: collects its reply, holds it to its limits, and leaves nothing of it behind."""

    def __init__(self, pid: int, reply: int, limits: dict[str, Any], control: IO[str]) -> None:
        self.pid, self.reply, self.control = pid, reply, control
        self.deadline = time.monotonic() + limits["seconds"]
        self.most_bytes = _resident_bytes(pid) + (limits["memory_mb"] << 20)
        self.peak_bytes = 0
        self.received = bytearray()

    def until_over(self) -> dict[str, Any]:
        cause, state = None, None
        waiting = [self.reply, self.control.fileno()]
        while state is None and cause is None:
            self._receive(waiting)
            state = self._exit_state()
            cause = self._broken_limit() if state is None else None
        _kill_group(self.pid)
        if state is None:
            os.kill(self.pid, signal.SIGKILL)  # it may not lead its group yet
            _, state = os.waitpid(self.pid, 0)
        _reap_orphans()
        self._drain()
        return {"cause": cause, "state": state, "peak_bytes": self.peak_bytes, "reply": self._reply_text()}

    def _receive(self, waiting: list[int]) -> None:
        ready, _, _ = select.select(waiting, [], [], TICK_S if self.reply in waiting else LAST_TICK_S)
        if self.control.fileno() in ready:  # one request at a time: what can be read now is the hang-up
            _kill_group(self.pid)
            _reap_orphans()
            os._exit(0)
        if self.reply in ready and not self._read_some():
            waiting.remove(self.reply)

    def _read_some(self) -> bool:
        chunk = os.read(self.reply, 1 << 16)
        self.received += chunk[: REPLY_BYTES - len(self.received)]
        return bool(chunk)

    def _exit_state(self) -> int | None:
        pid, state = os.waitpid(self.pid, os.WNOHANG)
        return state if pid else None

    def _broken_limit(self) -> str | None:
        resident = sum(_resident_bytes(pid) for pid in _descendants(os.getpid()))
        self.peak_bytes = max(self.peak_bytes, resident)
        if resident > self.most_bytes:
            return "memory"
        return "time" if time.monotonic() > self.deadline else None

    def _drain(self) -> None:
        os.set_blocking(self.reply, False)
        with contextlib.suppress(BlockingIOError):
            while self._read_some():
                pass
        os.close(self.reply)

    def _reply_text(self) -> str:
        return self.received.decode(errors="replace")


def _descendants(pid: int) -> Iterator[int]:
    """All processes below this one: of a subreaper, those too whose parents ended."""
    for child in _children(pid):
        yield child
        yield from _descendants(child)


def _children(pid: int) -> list[int]:
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it ended meanwhile
        return []
    return [int(child) for text in lists for child in text.split()]


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it ended by itself
        os.killpg(pid, signal.SIGKILL)


def _reap_orphans() -> None:
    """Kills what the job left behind; each death may hand further orphans to this process."""
    while orphans := _children(os.getpid()):
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)


def _tail(output: IO[bytes]) -> str:
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).decode(errors="replace")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main() -> None:
    """Takes standard output for answers alone: whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
