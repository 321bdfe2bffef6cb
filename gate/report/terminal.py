"""A run as the terminal shows it."""

from __future__ import annotations

from tabulate import tabulate

from gate.records import Run
from gate.report.facts import evidence, headline, rows
from gate.text import inert, one_line

HEADERS = ("workload", "baseline", "baseline ms", "candidate ms", "speedup", "could see", "verdict")


def terminal(run: Run) -> str:
    """The same for people at a terminal. Words from outside stay on their line, and command no runner."""
    cells = [[one_line(cell) for cell in row] for row in rows(run)]
    sections = [
        one_line(headline(run)),
        one_line(run.verdict.next_step),
        tabulate(cells, headers=HEADERS, tablefmt="simple", disable_numparse=True),
        "\n".join(f"warning: {one_line(warning)}" for warning in run.verdict.warnings),
        *("\n  ".join([title, *map(one_line, lines)]) for title, lines in evidence(run) if lines),
    ]
    return inert("\n\n".join(section for section in sections if section) + "\n")
