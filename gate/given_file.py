"""Reads a file that a user named: a plain one, of a size that such a file has, and without waiting for anybody."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gate.errors import BadInputError, MalformedFileError

MOST_BYTES = 64 << 20
"""Of a file: 70 times what 40 replicates of every backend on five workloads take. Reading so much takes 0.5 GB."""
MOST_TOML = 1 << 20
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_given(path: Path, what: str, *, most: int = MOST_BYTES) -> bytes:
    """The content of a plain file; `what` says which one to name instead.

    A pipe may have no writer, and a device no end: neither is read. Raises BadInputError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            kind = KINDS.get(stat.S_IFMT(os.fstat(descriptor).st_mode))
            content = b"" if kind else file.read(most + 1)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}; name {what}") from error
    except ValueError as error:
        raise BadInputError(f"cannot read {str(path)!r}: {error}; name {what}") from error
    if kind:
        raise BadInputError(f"cannot read {path}: it is {kind}, not a plain file; name {what}")
    if len(content) > most:
        raise MalformedFileError(f"{path} is over {most >> 20} MiB, too much for {what}; name another file")
    return content
