"""The table of a measured candidate's score."""

from __future__ import annotations

from collections.abc import Iterator

from gate.analysis.score import Score, Scores


def score_text(scores: Scores) -> str:
    """For each workload: every term, and the sum."""
    from gate.report.table import table

    return "\n\n".join(
        f"{score.workload}\n{table(_rows(score), 'term', 'points', 'from')}"
        if score.terms
        else f"{score.workload}: no score: the candidate was not timed against SDPA"
        for score in scores.scores
    )


def _rows(score: Score) -> Iterator[list[str]]:
    for term in score.terms:
        yield [term.name, "–" if term.points is None else f"{term.points:.1f}", term.evidence]
    lacking = ", ".join(term.name for term in score.terms if term.points is None)
    yield [
        "score",
        f"{score.total:.1f}",
        f"partial, without {lacking}: not comparable with other scores" if lacking else "complete",
    ]
