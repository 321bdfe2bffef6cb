"""Every error that Kernel Gate raises on purpose: one line that says what happened and what to do next.

Exit codes are the same everywhere (DESIGN.md section 4): 64 usage, 69 an unfit machine, 2 no such candidate.
What a *candidate* does wrong is never an exception but a status on a record.
"""

from __future__ import annotations


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
