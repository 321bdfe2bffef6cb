"""The one message format between the processes of a run: a header and a body, each one JSON document.

    52 31
    {"kind":"check","seconds":60.0, ...}[{"device":"cpu", ...}]

The first line has the sizes of both in bytes. The header is a record of Kernel Gate's own. The body is a list of
records of one type, and only its final reader parses it: the fork server passes on unread what a candidate's process
wrote.
"""

from __future__ import annotations

from typing import IO, TypeVar

from gate.errors import GateError
from gate.records import Record
from gate.records.codec import from_json, to_json

MAX_SIZES_BYTES = 64
MAX_HEADER_BYTES, MAX_BODY_BYTES = 1 << 20, 64 << 20

R = TypeVar("R", bound=Record)


def write_message(stream: IO[bytes], header: Record, body: bytes) -> None:
    """Writes one message at once. Raises BrokenPipeError if the reader is gone."""
    text = to_json(header).encode()
    stream.write(b"%d %d\n" % (len(text), len(body)) + text + body)
    stream.flush()


def read_message(stream: IO[bytes], kind: type[R]) -> tuple[R, bytes] | None:
    """Reads the header, a record of `kind`, and the body; None if the writer left before the message was complete.

    Raises GateError for what is no message, or a longer one than is allowed.
    """
    sizes = stream.readline(MAX_SIZES_BYTES)
    if not sizes:
        return None
    header_bytes, body_bytes = _sizes(sizes)
    header, body = stream.read(header_bytes), stream.read(body_bytes)
    if (len(header), len(body)) != (header_bytes, body_bytes):
        return None
    return from_json(kind, header, "a message's header"), body


def _sizes(line: bytes) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        raise GateError(f"a message begins with its two sizes, not with {line!r}; report this")
    header_bytes, body_bytes = int(words[0]), int(words[1])
    if header_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise GateError(f"a message of {header_bytes} and {body_bytes} bytes is too long; report this")
    return header_bytes, body_bytes
