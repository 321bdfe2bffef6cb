"""Every error that Kernel Gate raises on purpose: one line that says what happened and what to do next.

Exit codes are the same everywhere: 64 usage, 69 an unfit machine, 2 no such candidate.
What a *candidate* does wrong is never an exception but a status on a record.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

MACHINE_REMEDIES: Mapping[int, str] = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or have the quota raised",
    errno.EROFS: "choose a folder that can be written",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EIO: "look for a broken disk (`dmesg`)",
    errno.EMFILE: "raise the limit of open files (ulimit -n 1024)",
    errno.ENFILE: "close some programs: the whole system has too many files open",
    errno.EAGAIN: "raise the limit of processes (ulimit -u, docker run --pids-limit)",
    errno.ENOMEM: "free some memory",
}
"""Errors of the operating system that are the machine's fault, and not of what was asked of it: what to do."""


class GateError(Exception):
    """Base of all expected errors; `exit_code` is what the process ends with."""

    exit_code = 70


class BadInputError(GateError):
    """Something the user gave cannot be used: an option, a path, a file's content."""

    exit_code = 64


class MalformedFileError(BadInputError):
    """A file is not the JSON it should be: truncated, not JSON, or without the fields that are needed."""


class SchemaVersionError(BadInputError):
    """A file was written under another `schema_version`."""


class InconsistentFileError(BadInputError):
    """A file's derived numbers or its parts contradict its own samples."""


class NonFiniteNumberError(BadInputError):
    """A file carries NaN or infinity."""


class UnwritableOutputError(BadInputError):
    """An output path cannot be written."""


class CandidateNotFoundError(GateError):
    """IMPL names no candidate of the registry: the verdict is undecided."""

    exit_code = 2


class FailedBuildError(GateError):
    """A candidate that a command needs built does not build."""

    exit_code = 3


class UnfitEnvironmentError(GateError):
    """This machine lacks something the command needs: a compiler, a device, a driver."""

    exit_code = 69


def explain_machine(error: OSError) -> str | None:
    """The thing and its remedy, where the machine is at fault; None for any other error."""
    remedy = MACHINE_REMEDIES.get(error.errno or 0)
    thing = error.filename or "standard output, or a process"
    return f"{thing}: {error.strerror}; {remedy}" if remedy else None


def machine_fault_in(log: str) -> str | None:
    """The first line in which a compiler says that the machine failed it, with the remedy; None without one."""
    remedies = {os.strerror(number): remedy for number, remedy in MACHINE_REMEDIES.items()}
    said = re.compile(rf"^.*: '?({'|'.join(map(re.escape, remedies))})'?\s*$", re.MULTILINE)
    found = said.search(log)
    return f"{found[0].strip()}; {remedies[found[1]]}" if found else None
