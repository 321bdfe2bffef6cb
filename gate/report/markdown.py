"""A run as GitHub's Markdown: the comment and the job's summary.

First the verdict and its reason, then what to do, then one table, then the evidence. What came from a candidate is
escaped. What GitHub would refuse as too long is written again with fewer facts (`LEVELS`), never cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from gate.records import Estimate, Outcome, Run, Workload
from gate.report.facts import MARKS, NOT_PROFILED, evidence, headline, rows
from gate.report.profile import is_profiled
from gate.report.terminal import HEADERS
from gate.text import one_line

BASE_HEADER = "against the merge base"
COLORS = {Outcome.PASS: "brightgreen", Outcome.REJECTED: "red", Outcome.FAILED: "red"}
MAX_CELL = 80


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is not in the run itself: its own time over the merge base's, links (label, URL), and facts to warn of."""

    base: Mapping[Workload, Estimate] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """How much is told: which sections and how many lines of each, rows, warnings, and characters of a sentence."""

    sections: frozenset[str]
    lines: int
    rows: int
    warnings: int
    words: int


_ALL = frozenset({"Nsight Compute", "Gates", "Build", "Checks", "Samples", "Kernels", "Environment", "Method"})
LEVELS = (
    Level(_ALL, lines=10_000, rows=10_000, warnings=10_000, words=2_000),
    Level(_ALL - {"Samples", "Kernels"}, lines=200, rows=200, warnings=20, words=500),
    Level(frozenset({"Gates", "Build", "Environment"}), lines=60, rows=100, warnings=10, words=300),
    Level(frozenset({"Gates"}), lines=20, rows=40, warnings=5, words=200),
    Level(frozenset(), lines=0, rows=10, warnings=2, words=200),
)
MAX_COMMENT = 65_536
"""Characters that GitHub takes in a comment."""


def markdown(run: Run, around: Surroundings | None = None, *, most: int = MAX_COMMENT) -> str:
    """The comment in the fullest level that has at most `most` characters."""
    written = (_written(run, around or Surroundings(), level) for level in LEVELS)
    return next((text for text in written if len(text) <= most), _written(run, Surroundings(), LEVELS[-1]))


MEND = "Open the run: its red job says why. Mend that, then push again or run it again."


def no_verdict(around: Surroundings, then: str = MEND) -> str:
    """What is said of a commit on which nothing was judged, and what to do."""
    first = f"### {MARKS[Outcome.ENVIRONMENT]} NO VERDICT: nothing was judged on this commit"
    return "\n\n".join((first, then, _links(Outcome.ENVIRONMENT, around))) + "\n"


def _written(run: Run, around: Surroundings, level: Level) -> str:
    sections = [
        f"### {safe(headline(run), level.words)}",
        escape(run.verdict.next_step),
        *_table(run, around, level),
        *_warnings((*around.warnings, *run.verdict.warnings), level),
        *(() if is_profiled(run) else (NOT_PROFILED,)),
        _links(run.verdict.outcome, around),
        *(_details(run, title, lines, level) for title, lines in evidence(run) if lines and title in level.sections),
        *(() if level is LEVELS[0] else ("Written shorter to fit; the job's summary and `run.json` have the rest.",)),
    ]
    return "\n\n".join(sections) + "\n"


def _table(run: Run, around: Surroundings, level: Level) -> Iterator[str]:
    """One row a workload, those that did not pass first where not all fit."""
    every = [_row(row, around.base.get(each)) for row, each in zip(rows(run), run.measurement.workloads, strict=True)]
    shown = every if len(every) <= level.rows else sorted(every, key=_passed)[: level.rows]
    headers = (*HEADERS[:-1], BASE_HEADER, HEADERS[-1])
    yield tabulate(shown, headers=headers, tablefmt="github", disable_numparse=True)
    if len(shown) < len(every):
        yield f"And {len(every) - len(shown)} more of {len(every)} workloads, of the same outcome or a better one."


def _row(cells: Sequence[str], base: Estimate | None) -> list[str]:
    against = base.speedup() if base is not None else "–"
    return [safe(cell, MAX_CELL) for cell in (*cells[:-1], against, cells[-1])]


def _passed(row: Sequence[str]) -> bool:
    return row[-1].endswith(Outcome.PASS.value)


def _warnings(warnings: Sequence[str], level: Level) -> Iterator[str]:
    if warnings:
        left = len(warnings) - level.warnings
        more = (f"- and {left} more warnings",) if left > 0 else ()
        yield "\n".join((*(f"- ⚠️ {safe(each, level.words)}" for each in warnings[: level.warnings]), *more))


def _links(outcome: Outcome, around: Surroundings) -> str:
    """The badge, and where the whole run lies."""
    color = COLORS.get(outcome, "yellow")
    badge = f"![Kernel Gate: {outcome}](https://img.shields.io/badge/kernel%20gate-{outcome}-{color})"
    return " · ".join((badge, *(f"[{escape(label)}]({url})" for label, url in around.links)))


def _details(run: Run, title: str, lines: Sequence[str], level: Level) -> str:
    """A folded code block, in which nothing is Markdown, HTML or a mention; the gates lie open where one failed."""
    shown = [_plain(line, level.words) for line in lines]
    if len(shown) > level.lines:
        shown.sort(key=lambda line: line.startswith(MARKS[Outcome.PASS]))
        shown = [*shown[: level.lines], f"and {len(lines) - level.lines} more"]
    body = "\n".join(shown)
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", body)), default=0))
    is_open = title == "Gates" and run.verdict.outcome is not Outcome.PASS
    opening = f"<details{' open' if is_open else ''}><summary>{title}</summary>"
    return f"{opening}\n\n{fence}text\n{body}\n{fence}\n\n</details>"


ESCAPES = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;", "*": "&#42;", "~": "&#126;",
    "$": "&#36;", "](": "]&#40;", "][": "]&#91;", "![": "&#33;[", "@": "@\u200b", "#": "#\u200b", "://": ":\u200b//",
}  # fmt: skip
"""Characters with a meaning in Markdown become entities, which have none. GitHub looks for mentions, issues and bare
links in what is shown, where an entity is the character itself: those are parted by a space of no width."""
_ESCAPED = re.compile("|".join(re.escape(mark) for mark in sorted(ESCAPES, key=len, reverse=True)))
_ESCAPED_WWW = re.compile(r"\b(www|gh)(?=[.-])", re.IGNORECASE)


def safe(text: str, most: int) -> str:
    """Text from outside, on one line of at most `most` characters before escaping, made harmless in Markdown."""
    return _ESCAPED_WWW.sub("\\1\u200b", _ESCAPED.sub(lambda mark: ESCAPES[mark[0]], _plain(text, most)))


def escape(text: str) -> str:
    """Our own words with something from outside in them; marks of code stay what they are."""
    for mark in ("&", "<", ">", "|", "@"):
        text = text.replace(mark, ESCAPES[mark])
    return text


def _plain(text: str, most: int) -> str:
    line, left = one_line(text[:most]), len(text) - most
    return line if left <= 0 else f"{line} … ({left} characters more in run.json)"
