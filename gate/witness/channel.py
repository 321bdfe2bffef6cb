"""Lines of JSON between two processes on one machine."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from gate.errors import GateError
from gate.files import from_json, to_json
from gate.records import Record
from gate.witness.messages import Reply

LINE_BYTES = 1 << 16
MEETING_S = 60.0
NAME = "meeting"

R = TypeVar("R", bound=Record)


class HungUpError(Exception):
    """The other side is gone, or says what cannot be read."""


class OwnPlayerError(HungUpError):
    """The other side was the witness's own process: no candidate is to blame."""


class RefusedError(HungUpError):
    """The candidate says that it cannot."""


class Channel:
    """One end of the line. Raises `lost` where the other is gone."""

    def __init__(self, connection: socket.socket, lost: type[HungUpError] = HungUpError) -> None:
        self._lines = connection.makefile("rwb")
        self.lost = lost

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
            raise RefusedError(heard.message)
        if heard.word != word:
            raise self.lost(f"the other side said '{heard.word[:20]}' instead of '{word}' {heard.message}")


@contextlib.contextmanager
def waiting(folder: Path) -> Iterator[Channel]:
    """The end that waits to be met. Raises HungUpError where nobody comes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(MEETING_S)
        listener.bind(str(folder / NAME))
        listener.listen(1)
        try:
            connection, _ = listener.accept()
        except TimeoutError as error:
            raise HungUpError(f"the candidate's process did not come within {MEETING_S:.0f} s") from error
        connection.settimeout(None)  # the fork server ends what waits too long
        with connection:
            yield Channel(connection)


@contextlib.contextmanager
def meeting(folder: Path) -> Iterator[Channel]:
    """The end that comes to the meeting. Raises HungUpError where nobody waits."""
    until = time.monotonic() + MEETING_S
    with socket.socket(socket.AF_UNIX) as connection:
        while True:
            try:
                connection.connect(str(folder / NAME))
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise HungUpError(f"nobody waits at {folder / NAME}") from error
                time.sleep(0.005)
        yield Channel(connection)
