"""What GitHub's runner obeys in a job's output, as its ActionCommand.cs reads it line by line."""

from __future__ import annotations

import re

LINES = re.compile(r"\r\n|\r|\n")
HOSTILE = (
    "it failed\n::stop-commands::token\r  ::set-output name=outcome::pass\n\u2003::add-mask::1\nwell ##[error]forged"
)
"""Four commands, if somebody printed it as it is."""


def obeyed(output: str) -> list[str]:
    """`::name ...::` at the beginning of a line, spaces aside, and `##[name]` wherever it stands."""
    return [line for line in map(str.lstrip, LINES.split(output)) if line.startswith("::") or "##[" in line]
