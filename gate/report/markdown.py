"""A run as GitHub Markdown: the comment and the job's summary.

templates/comment.md has the text and escapes every value. This module decides how much is shown: a text that is too
long for GitHub is written again with fewer facts (`LEVELS`), never cut.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gate.records import Estimate, Outcome, Run, Workload
from gate.report.escaping import clip, code_block, escape, escaped, link, table
from gate.report.facts import MARKS, NOT_PROFILED, evidence, headline, rows
from gate.report.profile import is_profiled
from gate.report.terminal import HEADERS

if TYPE_CHECKING:
    from jinja2 import Environment

BASE_HEADER = "against the merge base"
COLORS = {Outcome.PASS: "brightgreen", Outcome.REJECTED: "red", Outcome.FAILED: "red"}
MAX_CELL = 80
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Facts from outside the run: ratios to the merge base, links (label, URL), and warnings."""

    base: Mapping[Workload, Estimate] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """How much is shown: the sections, and the largest numbers of lines, rows, warnings and characters of a line."""

    sections: frozenset[str]
    lines: int
    rows: int
    warnings: int
    chars: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the evidence, folded unless `is_open`."""

    title: str
    lines: tuple[str, ...]
    is_open: bool


_ALL = frozenset({"Nsight Compute", "Gates", "Build", "Checks", "Samples", "Kernels", "Environment", "Method"})
LEVELS = (
    Level(_ALL, lines=10_000, rows=10_000, warnings=10_000, chars=2_000),
    Level(_ALL - {"Samples", "Kernels"}, lines=200, rows=200, warnings=20, chars=500),
    Level(frozenset({"Gates", "Build", "Environment"}), lines=60, rows=100, warnings=10, chars=300),
    Level(frozenset({"Gates"}), lines=20, rows=40, warnings=5, chars=200),
    Level(frozenset(), lines=0, rows=10, warnings=2, chars=200),
)
MAX_COMMENT = 65_536
"""GitHub's limit of a comment, in characters."""


def markdown(run: Run, around: Surroundings | None = None, *, most: int = MAX_COMMENT) -> str:
    """The comment at the most detailed level with at most `most` characters."""
    written = (_written(run, around or Surroundings(), level) for level in LEVELS)
    return next((text for text in written if len(text) <= most), _written(run, Surroundings(), LEVELS[-1]))


def no_verdict(around: Surroundings, reason: str = "") -> str:
    """The comment of a commit without a verdict; `reason`: why the plan measures nothing."""
    mark = MARKS[Outcome.ENVIRONMENT]
    return _render("no_verdict.md", Outcome.ENVIRONMENT, around, mark=mark, reason=clip(reason, MAX_REASON))


def _written(run: Run, around: Surroundings, level: Level) -> str:
    warnings = (*around.warnings, *run.verdict.warnings)
    shown = _rows(run, around, level)
    return _render(
        "comment.md",
        run.verdict.outcome,
        around,
        headline=clip(headline(run), level.chars),
        next_step=run.verdict.next_step,
        headers=(*HEADERS[:-1], BASE_HEADER, HEADERS[-1]),
        rows=shown,
        rows_left=len(run.measurement.workloads) - len(shown),
        warnings=[clip(warning, level.chars) for warning in warnings[: level.warnings]],
        warnings_left=max(0, len(warnings) - level.warnings),
        profiled=is_profiled(run),
        not_profiled=NOT_PROFILED,
        sections=list(_sections(run, level)),
        shortened=level is not LEVELS[0],
    )


def _rows(run: Run, around: Surroundings, level: Level) -> list[list[str]]:
    """One row for each workload; if not all fit, those that did not pass come first."""
    bases = (around.base.get(workload) for workload in run.measurement.workloads)
    cells = [_row(row, base) for row, base in zip(rows(run), bases, strict=True)]
    return cells if len(cells) <= level.rows else sorted(cells, key=_passed)[: level.rows]


def _row(cells: Sequence[str], base: Estimate | None) -> list[str]:
    against = base.speedup() if base is not None else "–"
    return [clip(cell, MAX_CELL) for cell in (*cells[:-1], against, cells[-1])]


def _passed(row: Sequence[str]) -> bool:
    return row[-1].endswith(Outcome.PASS.value)


def _sections(run: Run, level: Level) -> Iterator[Section]:
    """The level's sections of the evidence; the gates are unfolded if one did not pass."""
    for title, lines in evidence(run):
        if lines and title in level.sections:
            is_open = title == "Gates" and run.verdict.outcome is not Outcome.PASS
            yield Section(title, tuple(_shortened(lines, level)), is_open)


def _shortened(lines: Sequence[str], level: Level) -> Iterator[str]:
    """The lines; if not all fit, those that did not pass come first."""
    shown = [clip(line, level.chars) for line in lines]
    if len(shown) <= level.lines:
        yield from shown
        return
    yield from sorted(shown, key=lambda line: line.startswith(MARKS[Outcome.PASS]))[: level.lines]
    yield f"and {len(lines) - level.lines} more"


def _render(template: str, outcome: Outcome, around: Surroundings, **facts: object) -> str:
    color = COLORS.get(outcome, "yellow")
    return _templates().get_template(template).render(outcome=outcome, color=color, links=around.links, **facts)


@functools.cache
def _templates() -> Environment:
    """The templates. They escape every value; the filters of `escaping` mark what already is Markdown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("gate.report"),
        autoescape=False,  # noqa: S701  # that escapes HTML; `finalize` escapes Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        finalize=escaped,
    )
    templates.filters.update(prose=escape, table=table, code_block=code_block, link=link)
    return templates
