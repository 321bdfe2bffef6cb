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
SOCKET_NAME, ENDED = "channel.sock", "ended"
"""Files in the folder: the socket, and a mark that one of the processes ended."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class DisconnectedError(Exception):
    """The other side disconnected, or sent an invalid message."""

    status = Status.CRASHED


class BaselineProcessError(DisconnectedError):
    """The other side was the witness's own baseline process: not the candidate's fault."""

    status = Status.ENVIRONMENT


class AbsentError(DisconnectedError):
    """The candidate's process never connected, or ended before it loaded the candidate: not the candidate's fault."""

    status = Status.ENVIRONMENT


class CandidateRefusedError(DisconnectedError):
    """The candidate reports that it failed."""


class Channel:
    """One end of the connection. Its methods raise `lost` if the other end is gone."""

    def __init__(self, connection: socket.socket, lost: type[DisconnectedError] = DisconnectedError) -> None:
        self._connection, self._lines = connection, connection.makefile("rwb")
        self.lost = lost

    def wait(self) -> None:
        """Waits until the other side sends a message or disconnects."""
        select.select([self._connection], [], [])

    def require_silence(self) -> None:
        """Raises `lost` if the other side disconnected, or sent a message out of turn."""
        if select.select([self._connection], [], [], 0)[0]:
            raise self.lost("the other side disconnected")

    def send(self, record: Record) -> None:
        """Sends one record at once. Raises DisconnectedError."""
        try:
            self._lines.write(to_json(record).encode() + b"\n")
            self._lines.flush()
        except OSError as error:
            raise self.lost(f"the other side disconnected: {error}") from error

    def receive(self, kind: type[R]) -> R:
        """The next record, of at most LINE_BYTES. Raises DisconnectedError."""
        try:
            line = self._lines.readline(LINE_BYTES)
        except OSError as error:
            raise self.lost(f"the other side disconnected: {error}") from error
        if not line.endswith(b"\n"):
            raise self.lost("the other side disconnected during a round" if line == b"" else "a message is too long")
        try:
            return from_json(kind, line.decode(errors="replace"), "the other side's message")
        except GateError as error:
            raise self.lost(str(error)) from error

    def expect(self, word: str) -> None:
        """Receives this word. Raises CandidateRefusedError if the candidate failed, DisconnectedError otherwise."""
        reply = self.receive(Reply)
        if reply.word == "failed" and self.lost is DisconnectedError:
            raise CandidateRefusedError(reply.message)
        if reply.word != word:
            raise self.lost(f"the other side sent '{reply.word[:20]}' instead of '{word}' {reply.message}")


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[Channel]:
    """The listening end; the other end has not loaded a candidate yet. Raises AbsentError if no process connects."""
    with socket.socket(socket.AF_UNIX) as listener, _address(folder) as address:
        listener.bind(address)
        listener.listen(1)
        listener.setblocking(False)
        connection, _ = _retry(folder, listener.accept)
        connection.settimeout(None)  # the fork server ends a process that waits too long
        with connection:
            yield Channel(connection, AbsentError)


@contextlib.contextmanager
def connected(folder: Path) -> Iterator[Channel]:
    """The connecting end. Raises AbsentError if no process listens."""
    with socket.socket(socket.AF_UNIX) as connection, _address(folder) as address:
        _retry(folder, lambda: connection.connect(address))
        yield Channel(connection)


def mark_ended(folder: Path) -> None:
    """Marks that a process ended, so that the other does not wait for a connection that will never come."""
    (folder / ENDED).touch()


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """A path of the socket that stays below the limit of 108 characters (unix(7)), however long the folder's is."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def _retry(folder: Path, attempt: Callable[[], T]) -> T:
    until = time.monotonic() + CONNECT_S
    while True:
        try:
            return attempt()
        except OSError as error:
            if (folder / ENDED).exists():
                raise AbsentError("the other side ended before it connected") from error
            if time.monotonic() > until:
                raise AbsentError(f"the other side did not connect within {CONNECT_S:.0f} s") from error
        time.sleep(RETRY_S)
