"""Text from outside, made fit to show."""

from __future__ import annotations

import re
import unicodedata

COMMAND = re.compile(r"(?:^|[\r\n])[^\S\r\n]*:(?=:)|##(?=\[)")
"""What GitHub's runner takes for a command in a job's output: `::` that begins a line, `##[` wherever it stands."""


def one_line(text: str) -> str:
    """Text from outside without control characters, line ends, or marks that turn the direction of writing."""
    return "".join(" " if _is_control(character) else character for character in text)


def inert(text: str) -> str:
    """The same with a space within each mark of a command, so that GitHub's runner obeys no word of it."""
    return COMMAND.sub(r"\g<0> ", text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") and character not in "\u200d\ufe0f"
