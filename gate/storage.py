"""Reads a user's files without blocking, and writes files atomically."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import IO

from gate import errors
from gate.errors import BadInputError, MalformedFileError
from gate.records import Record
from gate.records.codec import to_json

MAX_BYTES = 64 << 20
"""Largest file to read: 70 times 40 replicates of every backend on five workloads; needs 0.5 GB of memory."""
MAX_TOML = 1 << 20
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_given(path: Path, what: str, *, limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file; `what` names the expected kind of file in the error.

    Pipes and devices are refused, because reading them may never end. Raises BadInputError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            kind = KINDS.get(stat.S_IFMT(os.fstat(descriptor).st_mode))
            content = b"" if kind else file.read(limit + 1)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}; choose {what}") from error
    except ValueError as error:
        raise BadInputError(f"cannot read {str(path)!r}: {error}; choose {what}") from error
    if kind:
        raise BadInputError(f"cannot read {path}: it is {kind}, not a regular file; choose {what}")
    if len(content) > limit:
        raise MalformedFileError(
            f"{path} is larger than {limit >> 20} MiB, too large for {what}; choose another file"
        )
    return content


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_record(path: Path, record: Record, *, indent: int | None = None) -> None:
    """Writes the record's JSON to `path` atomically. Raises the errors of `write_text`."""
    write_text(path, to_json(record, indent=indent) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically: to a temporary file in the same folder, then a rename.

    Raises UnwritableOutputError, or UnfitEnvironmentError if the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(path) as file:
            try:
                file.write(text)
                file.close()
                os.chmod(file.name, 0o644)  # noqa: PTH101  # a temporary file starts as 0600
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno in NO_SPACE:
            remedy = errors.MACHINE_REMEDIES[error.errno or 0]
            raise errors.UnfitEnvironmentError(f"cannot write {path}: {error.strerror}; {remedy}") from error
        raise errors.UnwritableOutputError(
            f"cannot write {path}: {error.strerror}; choose a writable output path"
        ) from error


def _temporary_beside(path: Path) -> IO[str]:
    return tempfile.NamedTemporaryFile(  # closed and renamed by the caller
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    )
