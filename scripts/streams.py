"""Sets up standard output and error; no terminal, pipe or closed descriptor can change a command's exit code."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _UntilHangUp(io.FileIO):
    """A descriptor whose reader may close it, as in `| head -1`; later output is dropped."""

    def write(self, content: Buffer) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            return memoryview(content).nbytes


def settle() -> None:
    """Opens closed descriptors, and lets both streams print `?` for a character that the encoding lacks."""
    _open_closed()
    sys.stdout, sys.stderr = _tolerant(sys.stdout, 1), _tolerant(sys.stderr, 2)


def _open_closed() -> None:
    """Opens closed standard descriptors; otherwise a file opened later would become standard output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # uses the lowest free descriptor


def _tolerant(stream: TextIO | None, descriptor: int) -> TextIO:
    if type(stream) is io.TextIOWrapper or stream is None:
        raw = _UntilHangUp(descriptor, "wb", closefd=False)
        encoding, lines = (stream.encoding, stream.line_buffering) if stream else ("utf-8", True)
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=lines)
    return stream  # a caller of this process replaced the stream


def forget() -> None:
    """Drops unwritten output: at exit Python would retry the write, and change the exit code to 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
