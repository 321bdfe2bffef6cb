"""The fork server: imports torch once, runs each job in a fresh process, and ends what does not end by itself.

`gate/sandbox/bootstrap.py` starts it. It writes an empty line to standard output once it can take jobs. From then on
it reads one message (gate/sandbox/message.py) with a job from standard input at a time, and writes one with the job's
exit to standard output. A job runs in a session of its own, as the leader of its process group, and writes its reply
to a pipe. When it is over, by whatever way, all that it started is killed: this process is the subreaper of its
descendants, so that it also finds a daemon that forked twice. Then the job's temporary folder
(gate/machine/scratch.py) is removed.

Supervision is our own code because pools of processes (concurrent.futures, loky) trust what they run, and psutil
finds no descendant whose parent has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, NoReturn

from gate.machine import scratch
from gate.sandbox import candidate_caches, confinement
from gate.sandbox.job import Exit, Job
from gate.sandbox.job_memory import JobMemory, children
from gate.sandbox.message import MAX_BODY_BYTES, read_message, write_message

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
TICK_S = 0.05  # how often a job's memory and time are checked
LAST_TICK_S = 0.002  # after its reply is complete, because it should end at once
OUTPUT_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Jobs:
    """What the server prepares once, before its first fork, and what each fork runs.

    `run` takes a kind of job and the JSON list of its requests, and returns the JSON list of their answers.
    """

    prepare: Callable[[], None]
    run: Callable[[str, bytes], bytes]


def serve(jobs: Jobs, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Runs one job a message until the client closes the pipe."""
    jobs.prepare()
    confinement.prepare_driver()
    confinement.conceal()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    answers.write(b"\n")
    answers.flush()
    client, root = os.getppid(), ""
    try:
        while message := read_message(requests, Job):
            root = message[0].caches
            ending = run_job(jobs, *message, requests)
            write_message(answers, replace(ending, reply=b""), ending.reply)
    finally:
        if root and os.getppid() != client:  # which was killed, and removes nothing
            scratch.remove(root)
        scratch.remove_leftovers()


def run_job(jobs: Jobs, job: Job, requests: bytes, control: IO[bytes]) -> Exit:
    """Runs the job in a fresh process within its limits, and returns how it ended."""
    # The client removes job.caches, however this process ends.
    with scratch.temporary_folder(job.caches) as folder, tempfile.TemporaryFile(dir=job.caches) as output:
        return _run_in(folder, jobs, job, requests, output, control)


def _run_in(folder: str, jobs: Jobs, job: Job, requests: bytes, output: IO[bytes], control: IO[bytes]) -> Exit:
    read_end, write_end = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _become_job(jobs, job, requests, folder, write_end, output)
    os.close(write_end)
    supervisor = JobSupervisor(pid, read_end, job, control)
    cause, state = supervisor.until_over()
    return Exit(
        bytes(supervisor.reply), state, cause, time.monotonic() - started, supervisor.peak_bytes, _tail(output)
    )


def _become_job(jobs: Jobs, job: Job, requests: bytes, folder: str, reply: int, output: IO[bytes]) -> NoReturn:
    """Runs the job in the child, which ends by `_exit`, so that nothing of the server's is run or flushed twice."""
    code = 1
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _limit_files(job.file_mb << 20)
        _redirect(output)
        _close_all_but(reply)
        scratch.use_for_temporary_files(folder)
        _confine(job, [folder, *candidate_caches.open_for(job.candidate, job.caches, on_cpu=job.on_cpu)])
        _write_all(reply, jobs.run(job.kind, requests))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _limit_files(size_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def _redirect(output: IO[bytes]) -> None:
    """Closes standard input, and sends standard output and error to the file that the server reads back."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)


def _close_all_but(reply: int) -> None:
    """Closes the server's own descriptors, with which a candidate could answer in the server's name."""
    os.closerange(3, reply)
    os.closerange(reply + 1, os.sysconf("SC_OPEN_MAX"))


def _confine(job: Job, folders: list[str]) -> None:
    """Confines the job to writing to `folders` and its own, unless its program confines itself."""
    if not job.confined:
        return
    confinement.conceal(job.concealed)
    confinement.confine([*folders, *job.folders])
    candidate_caches.remove_stale_locks()


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.close(descriptor)


class JobSupervisor:
    """Waits for one job: collects its reply, holds it to its limits, and leaves nothing of it behind."""

    def __init__(self, pid: int, reply_pipe: int, job: Job, control: IO[bytes]) -> None:
        self.pid, self.reply_pipe, self.control = pid, reply_pipe, control
        self.deadline = time.monotonic() + job.seconds
        self.memory = JobMemory(pid, job.memory_mb << 20)
        self.peak_bytes = 0
        self.reply = bytearray()

    def until_over(self) -> tuple[str | None, int]:
        """The cause why it was ended, if it was, and the state that it ended with, as os.waitpid returns it."""
        cause, state = None, None
        waiting = [self.reply_pipe, self.control.fileno()]
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
        return cause, state

    def _receive(self, waiting: list[int]) -> None:
        ready, _, _ = select.select(waiting, [], [], TICK_S if self.reply_pipe in waiting else LAST_TICK_S)
        if self.control.fileno() in ready:  # one job at a time: what can be read now is the end
            _kill_group(self.pid)
            _reap_orphans()
            raise SystemExit  # and so runs the code that removes the job's files
        if self.reply_pipe in ready and not self._read_some():
            waiting.remove(self.reply_pipe)

    def _read_some(self) -> bool:
        chunk = os.read(self.reply_pipe, 1 << 16)
        self.reply += chunk[: MAX_BODY_BYTES - len(self.reply)]
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
        os.set_blocking(self.reply_pipe, False)
        with contextlib.suppress(BlockingIOError):
            while self._read_some():
                pass
        os.close(self.reply_pipe)


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
    """Takes standard output for messages alone: whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(jobs, sys.stdin.buffer, answers)
