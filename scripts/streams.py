"""Standard output and error as a command needs them: no terminal, pipe or closed descriptor takes its exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _UntilHangUp(io.FileIO):
    """A descriptor whose reader may leave, as in `| head -1`: what is written after that goes nowhere."""

    def write(self, content: Buffer) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return memoryview(content).nbytes


def settle() -> None:
    """Opens descriptors that are closed, and lets both streams show `?` for a letter that the terminal lacks."""
    _open_closed()
    sys.stdout, sys.stderr = _tolerant(sys.stdout, 1), _tolerant(sys.stderr, 2)


def _open_closed() -> None:
    """Else a file that is opened later would be standard output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def _tolerant(stream: TextIO | None, descriptor: int) -> TextIO:
    if type(stream) is io.TextIOWrapper or stream is None:
        raw = _UntilHangUp(descriptor, "wb", closefd=False)
        encoding, lines = (stream.encoding, stream.line_buffering) if stream else ("utf-8", True)
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=lines)
    return stream  # what a caller in this process put in its place


def forget() -> None:
    """Drops what cannot be written: at its end Python would try again, and change the exit code to 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
