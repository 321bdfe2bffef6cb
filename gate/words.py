"""Ratios of times in words, and text from outside made fit to show, the same everywhere."""

from __future__ import annotations

import re
import unicodedata

from gate.records import Comparison, Estimate

COMMAND = re.compile(r"(?:^|[\r\n])[^\S\r\n]*:(?=:)|##(?=\[)")
"""What GitHub's runner takes for a command in a job's output: `::` that begins a line, `##[` wherever it stands."""


def in_words(estimate: Estimate) -> str:
    """`0.912 [0.905, 0.919]`, or the point alone."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.point:.3f}"
    return f"{estimate.point:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


SMALL_SPEEDUP = 0.01


def speedup_in_words(ratio: Estimate) -> str:
    """`1.25× [1.22, 1.29]`: the inverse of the ratio and of its interval."""
    point = f"{_speedup(ratio.point)}×"
    if ratio.low is None or ratio.high is None:
        return point
    return f"{point} [{_speedup(ratio.high)}, {_speedup(ratio.low)}]"


def _speedup(ratio: float) -> str:
    """With three decimals, or three digits where those would be zeros."""
    return f"{1 / ratio:.3f}" if 1 / ratio >= SMALL_SPEEDUP else f"{1 / ratio:.3g}"


def speed_in_words(comparison: Comparison) -> str:
    """How the candidate's time compares, as a ratio with its interval."""
    return f"ratio {in_words(comparison.ratio)} to {comparison.baseline}"


def one_line(text: str) -> str:
    """Text from outside without control characters, line ends, or marks that turn the direction of writing."""
    return "".join(" " if _is_control(each) else each for each in text)


def inert(text: str) -> str:
    """The same with a space within each mark of a command, so that GitHub's runner obeys no word of it."""
    return COMMAND.sub(r"\g<0> ", text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs") and character not in "\u200d\ufe0f"
