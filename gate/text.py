"""Sanitizes text from candidates, users and tools before it is shown."""

from __future__ import annotations

import re
import unicodedata

COMMAND = re.compile(r"(?:^|[\r\n])[^\S\r\n]*:(?=:)|##(?=\[)")
"""Workflow commands in a job's output: `::` at the start of a line, `##[` anywhere."""


def one_line(text: str) -> str:
    """Replaces control characters, line ends and bidirectional marks by spaces."""
    return "".join(" " if _is_control(character) else character for character in text)


def inert(text: str) -> str:
    """Inserts a space into every workflow command, so that GitHub's runner ignores it."""
    return COMMAND.sub(r"\g<0> ", text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") and character not in "\u200d\ufe0f"
