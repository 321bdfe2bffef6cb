"""The fork server: has torch imported, runs each job in a fresh process, and ends what does not end by itself.

`gate/sandbox/bootstrap.py` starts it. It writes an empty line to standard output once it can take jobs. From then on
it speaks JSON lines: a request on standard input, one answer on standard output. A job runs in a session of its own,
as the leader of its process group, and says its reply through a pipe. When it is over, by whatever way, all that it
started is killed: this process is the subreaper of its descendants, so that a daemon that forked twice is found too.
Its temporary folder (gate/machine/scratch.py) is removed then.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, NoReturn

from gate.machine import scratch
from gate.sandbox import candidate_caches, confinement
from gate.sandbox.job_memory import JobMemory, children

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
TICK_S = 0.05  # how often a job's memory and time are looked at
LAST_TICK_S = 0.002  # once its reply is complete: it should be gone at once
REPLY_BYTES = 64 << 20
OUTPUT_BYTES = 4000
JOB_FOLDERS = {"compile": "directory", "play": "folder", "referee": "folder"}
"""The field of a request that names a folder beside the temporary one which that kind of job writes to."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """What the server prepares once, before its first fork, and what each fork runs: a job to its answer."""

    prepare: Callable[[], None]
    run: Callable[[Mapping[str, Any]], str]


def serve(jobs: Jobs, requests: IO[str], answers: IO[str]) -> None:
    """Answers one request a line until the other side hangs up."""
    jobs.prepare()
    confinement.prepare_driver()
    confinement.conceal()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    answers.write("\n")
    answers.flush()
    client, root = os.getppid(), ""
    try:
        for line in requests:
            request = json.loads(line)
            root = request["caches"]
            answers.write(json.dumps(run_job(jobs, request, requests)) + "\n")
            answers.flush()
    finally:
        if root and os.getppid() != client:  # which was killed, and removes nothing
            scratch.remove(root)
        scratch.remove_leftovers()


def run_job(jobs: Jobs, request: dict[str, Any], control: IO[str]) -> dict[str, Any]:
    """Runs `request["job"]` in a fresh process within `request["limits"]`, and tells how it ended."""
    root = request["caches"]  # the client removes it, however this process ends
    with scratch.temporary_folder(root) as folder, tempfile.TemporaryFile(dir=root) as output:
        return _run_in(jobs, folder, request, output, control)


def _run_in(jobs: Jobs, folder: str, request: dict[str, Any], output: IO[bytes], control: IO[str]) -> dict[str, Any]:
    read_end, write_end = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _become_job(jobs, request, folder, write_end, output)
    os.close(write_end)
    ending = JobSupervisor(pid, read_end, request["limits"], control).until_over()
    return ending | {"seconds": time.monotonic() - started, "output": _tail(output)}


def _become_job(jobs: Jobs, request: dict[str, Any], folder: str, reply: int, output: IO[bytes]) -> NoReturn:
    """The child's life. It leaves by `_exit`, so that nothing of the server's is run or flushed twice."""
    code = 1
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit(request["limits"])
        _redirect(output)
        _close_all_but(reply)
        scratch.use_for_temporary_files(folder)
        _confine(request["job"], [folder, *candidate_caches.open_for(request["job"], request["caches"])])
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


def _confine(job: dict[str, Any], folders: list[str]) -> None:
    """To `folders`, and what its requests name. The witness stays hidden from the candidate beside it.

    What watches a candidate is not confined: the program under it confines itself (gate/sandbox/external_tool.py).
    """
    if job["kind"] == "watch":
        return
    named = JOB_FOLDERS.get(job["kind"])
    others = [json.loads(each)[named] for each in job["requests"]] if named else []
    confinement.conceal(job["kind"] == "referee")
    confinement.confine([*folders, *others])
    candidate_caches.let_go()


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.close(descriptor)


class JobSupervisor:
    """Waits for one job: collects its reply, holds it to its limits, and leaves nothing of it behind."""

    def __init__(self, pid: int, reply: int, limits: dict[str, Any], control: IO[str]) -> None:
        self.pid, self.reply, self.control = pid, reply, control
        self.deadline = time.monotonic() + limits["seconds"]
        self.memory = JobMemory(pid, limits["memory_mb"] << 20)
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
            raise SystemExit  # by way of what removes the job's files
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
        exceeded = self.memory.exceeds_limit()
        self.peak_bytes = max(self.peak_bytes, self.memory.held)
        if exceeded:
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


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of it ended by itself
        os.killpg(pid, signal.SIGKILL)


def _reap_orphans() -> None:
    """Kills what the job left behind; each death may hand further orphans to this process."""
    while orphans := children(os.getpid()):
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
            os.waitpid(orphan, 0)


def _tail(output: IO[bytes]) -> str:
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), OUTPUT_BYTES, max(0, size - OUTPUT_BYTES)).decode(errors="replace")


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main(jobs: Jobs) -> None:
    """Takes standard output for answers alone: whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(jobs, sys.stdin, answers)
