"""Lines of JSON between two processes on one machine."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from gate.errors import GateError
from gate.records import Record, Status
from gate.records.codec import from_json, to_json
from gate.witness.protocol import Reply

LINE_BYTES = 1 << 16
CONNECT_S, RETRY_S = 60.0, 0.01
SOCKET_NAME, ENDED = "meeting", "ended"
"""In the folder: the socket, and a file once either process has ended."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class HungUpError(Exception):
    """The other side is gone, or says what cannot be read."""

    status = Status.CRASHED


class BaselineProcessError(HungUpError):
    """The other side was the witness's own process: no candidate is to blame."""

    status = Status.ENVIRONMENT


class AbsentError(HungUpError):
    """The candidate's process never came, or left before it loaded the candidate, which is not to blame."""

    status = Status.ENVIRONMENT


class CandidateRefusedError(HungUpError):
    """The candidate says that it cannot."""


class Channel:
    """One end of the line. Raises `lost` where the other is gone."""

    def __init__(self, connection: socket.socket, lost: type[HungUpError] = HungUpError) -> None:
        self._connection, self._lines = connection, connection.makefile("rwb")
        self.lost = lost

    def wait(self) -> None:
        """Until the other side says something, or hangs up."""
        select.select([self._connection], [], [])

    def require_silence(self) -> None:
        """Raises `lost` where the other side has hung up. Nothing is expected from it now."""
        if select.select([self._connection], [], [], 0)[0]:
            raise self.lost("the other side left")

    def say(self, record: Record) -> None:
        """One record, at once. Raises HungUpError."""
        try:
            self._lines.write(to_json(record).encode() + b"\n")
            self._lines.flush()
        except OSError as error:
            raise self.lost(f"the other side left: {error}") from error

    def hear(self, kind: type[R]) -> R:
        """The next record. Raises HungUpError; LINE_BYTES are the most that is read of one."""
        try:
            line = self._lines.readline(LINE_BYTES)
        except OSError as error:
            raise self.lost(f"the other side left: {error}") from error
        if not line.endswith(b"\n"):
            raise self.lost("the other side left in the middle of a round" if line == b"" else "a line was too long")
        try:
            return from_json(kind, line.decode(errors="replace"), "what the other side said")
        except GateError as error:
            raise self.lost(str(error)) from error

    def expect(self, word: str) -> None:
        """That word next. Raises RefusedError where a candidate says that it failed, HungUpError for all else."""
        heard = self.hear(Reply)
        if heard.word == "failed" and self.lost is HungUpError:
            raise CandidateRefusedError(heard.message)
        if heard.word != word:
            raise self.lost(f"the other side said '{heard.word[:20]}' instead of '{word}' {heard.message}")


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[Channel]:
    """The end that waits to be met, by a process that has no candidate yet. Raises AbsentError where nobody comes."""
    with socket.socket(socket.AF_UNIX) as listener, _address(folder) as address:
        listener.bind(address)
        listener.listen(1)
        listener.setblocking(False)
        connection, _ = _retried(folder, listener.accept)
        connection.settimeout(None)  # the fork server ends what waits too long
        with connection:
            yield Channel(connection, AbsentError)


@contextlib.contextmanager
def connected(folder: Path) -> Iterator[Channel]:
    """The end that comes to the meeting. Raises AbsentError where nobody waits."""
    with socket.socket(socket.AF_UNIX) as connection, _address(folder) as address:
        _retried(folder, lambda: connection.connect(address))
        yield Channel(connection)


def hang_up(folder: Path) -> None:
    """For a process that has ended: the other need not wait to meet it. Once they have met, the socket says so."""
    (folder / ENDED).touch()


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's path, which may have 108 characters at most (unix(7)): however long the folder's own is."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def _retried(folder: Path, attempt: Callable[[], T]) -> T:
    until = time.monotonic() + CONNECT_S
    while True:
        try:
            return attempt()
        except OSError as error:
            if (folder / ENDED).exists():
                raise AbsentError("the other side ended before both met") from error
            if time.monotonic() > until:
                raise AbsentError(f"the other side did not come within {CONNECT_S:.0f} s") from error
        time.sleep(RETRY_S)
