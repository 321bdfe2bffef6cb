"""A job: what the fork server runs in a fresh process, what that process may do, and how it ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gate.records import Record, Status
from gate.settings.model import LimitSettings

STATUS_BY_CAUSE = {"time": Status.TIMED_OUT, "memory": Status.OUT_OF_MEMORY, "server": Status.CRASHED}
"""The status of a job that was ended, by the cause."""
UNLIMITED = LimitSettings(memory_mb=1 << 20, file_mb=1 << 20)
"""1 TiB each, for jobs that load no candidate: they use what the machine has."""

Request = TypeVar("Request", bound=Record)
Answer = TypeVar("Answer", bound=Record)


@dataclass(frozen=True, slots=True)
class JobKind(Generic[Request, Answer]):
    """A kind of job: the records that it is asked with and answers with, and what its process may do."""

    name: str
    request: type[Request]
    answer: type[Answer]
    process: str = "the candidate's process"
    """What messages call the process."""
    trusted: bool = False
    """It loads no candidate, so that the candidate's limits on memory and files are not for it."""
    confined: bool = True
    """False for a job whose own program confines itself before it loads a candidate."""
    concealed: bool = False
    """No other process of the user may see into its process."""
    folder_field: str = ""
    """The field of its requests that names a folder which it may write to, beside its temporary one."""


@dataclass(frozen=True, slots=True)
class Job(Record):
    """The header of a message to the fork server, whose body has the requests."""

    kind: str
    seconds: float
    """The time limit."""
    memory_mb: int
    file_mb: int
    caches: str
    """The folder that the caches of all candidates lie in (gate/sandbox/candidate_caches.py)."""
    candidate: str | None = None
    """The candidate's library or Python file."""
    on_cpu: bool = False
    folders: tuple[str, ...] = ()
    """Further folders that the job may write to."""
    confined: bool = True
    concealed: bool = False


def make_job(
    kind: JobKind[Request, Answer], requests: Sequence[Request], seconds: float, limits: LimitSettings, caches: str
) -> Job:
    """The job that answers these requests."""
    allowed = UNLIMITED if kind.trusted else limits
    candidates = [source for request in requests if (source := getattr(request, "candidate", None))]
    return Job(
        kind=kind.name,
        seconds=seconds,
        memory_mb=allowed.memory_mb,
        file_mb=allowed.file_mb,
        caches=caches,
        candidate=candidates[0] if candidates else None,
        on_cpu=any(getattr(request, "device", None) == "cpu" for request in requests),
        folders=tuple(getattr(request, kind.folder_field) for request in requests) if kind.folder_field else (),
        confined=kind.confined,
        concealed=kind.concealed,
    )


@dataclass(frozen=True, slots=True)
class Exit(Record):
    """How a job's process ended: the header of the fork server's answer, whose body is `reply`.

    The job's process wrote the reply, which is to be trusted no more than the candidate is.
    """

    reply: bytes
    state: int
    """As os.waitpid returns it."""
    cause: str | None
    """Why it was ended: `time`, `memory` or `server`; None if it ended by itself."""
    seconds: float
    peak_bytes: int
    output: str
    """The end of what it printed."""

    @property
    def status(self) -> Status:
        """`ok` if it answered and ended by itself."""
        if self.cause is not None:
            return STATUS_BY_CAUSE[self.cause]
        return Status.OK if self.state == 0 and self.reply else Status.CRASHED

    @property
    def message(self) -> str:
        """How a job ended that is not ok: a sentence whose subject is the job's process."""
        if self.cause == "time":
            return f"did not end within {self.seconds:.0f} s and was killed"
        if self.cause == "memory":
            return f"held {self.peak_bytes / 2**20:.0f} MB, more than its limit (limits.memory_mb), and was killed"
        if self.cause == "server":
            return "was gone with the server that ran it, which ended or was stopped, as an attack on it would do"
        if os.WIFSIGNALED(self.state):
            return f"was ended by {signal_name(os.WTERMSIG(self.state))}"
        return f"exited with code {os.WEXITSTATUS(self.state)} before it answered"

    @property
    def last_output_line(self) -> str:
        """The last line that it printed."""
        return last_line(self.output)


def last_line(output: str) -> str:
    """The last line that is not blank; empty if there is none."""
    return next((line for line in reversed(output.splitlines()) if line.strip()), "")


def signal_name(number: int) -> str:
    """SIGSEGV for 11; what has no name of its own is named by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
