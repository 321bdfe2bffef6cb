"""Formats a run for the terminal."""

from __future__ import annotations

from tabulate import tabulate

from gate.records import Run
from gate.report.facts import evidence, headline, rows
from gate.text import inert, one_line

HEADERS = ("workload", "baseline", "baseline ms", "candidate ms", "speedup", "detectable", "verdict")


def terminal(run: Run) -> str:
    """A run as plain text. Text from a candidate stays on one line and cannot form a workflow command."""
    cells = [[one_line(cell) for cell in row] for row in rows(run)]
    sections = [
        one_line(headline(run)),
        one_line(run.verdict.next_step),
        tabulate(cells, headers=HEADERS, tablefmt="simple", disable_numparse=True),
        "\n".join(f"warning: {one_line(warning)}" for warning in run.verdict.warnings),
        *("\n  ".join([title, *map(one_line, lines)]) for title, lines in evidence(run) if lines),
    ]
    return inert("\n\n".join(section for section in sections if section) + "\n")
