"""Kernel Gate's exceptions. Every message is one line: what happened, and what to do next.

Exit codes: 64 usage, 69 unfit machine, 2 unknown candidate, 3 failed build, 70 internal error.
A *candidate's* failure is never an exception, but a status on a record.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

MACHINE_REMEDIES: Mapping[int, str] = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the disk quota",
    errno.EROFS: "choose a folder that can be written",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EIO: "check the disk for errors (`dmesg`)",
    errno.EMFILE: "raise the limit of open files (ulimit -n 1024)",
    errno.ENFILE: "close some programs: the system has too many open files",
    errno.EAGAIN: "raise the limit of processes (ulimit -u, docker run --pids-limit)",
    errno.ENOMEM: "free some memory",
}
"""Remedies by error number, for errors of the operating system that are faults of the machine."""


class GateError(Exception):
    """Base of all expected errors; `exit_code` is the exit code of the process."""

    exit_code = 70


class BadInputError(GateError):
    """An option, a path or a file's content from the user is invalid."""

    exit_code = 64


class MalformedFileError(BadInputError):
    """A file is truncated, not JSON, or lacks required fields."""


class SchemaVersionError(BadInputError):
    """A file was written under another `schema_version`."""


class InconsistentFileError(BadInputError):
    """Numbers or parts of a file contradict its samples."""


class NonFiniteNumberError(BadInputError):
    """A file contains NaN or infinity."""


class UnwritableOutputError(BadInputError):
    """An output path cannot be written."""


class CandidateNotFoundError(GateError):
    """IMPL is not a candidate of the registry; the verdict is undecided."""

    exit_code = 2


class FailedBuildError(GateError):
    """The build of a candidate failed, and the command needs it."""

    exit_code = 3


class UnfitEnvironmentError(GateError):
    """The machine lacks what the command needs, such as a compiler, a device or a driver."""

    exit_code = 69


def explain_machine(error: OSError) -> str | None:
    """Message and remedy if the error is a fault of the machine; otherwise None."""
    remedy = MACHINE_REMEDIES.get(error.errno or 0)
    subject = error.filename or "standard output, or a process"
    return f"{subject}: {error.strerror}; {remedy}" if remedy else None


def machine_fault_in(log: str) -> str | None:
    """The first line of a compiler's log that reports a fault of the machine, with its remedy; else None."""
    remedies = {os.strerror(number): remedy for number, remedy in MACHINE_REMEDIES.items()}
    pattern = re.compile(rf"^.*: '?({'|'.join(map(re.escape, remedies))})'?\s*$", re.MULTILINE)
    found = pattern.search(log)
    return f"{found[0].strip()}; {remedies[found[1]]}" if found else None
