"""The score of a measured candidate, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from gate.analysis.score import Score, Scores


def score_text(scores: Scores) -> str:
    """Every term of every workload, and the sum."""
    from gate.report.table import table

    return "\n\n".join(
        f"{score.workload}\n{table(_rows(score), 'term', 'points', 'from')}"
        if score.terms
        else f"{score.workload}: nothing to score: the candidate was not timed beside SDPA"
        for score in scores.scores
    )


def _rows(each: Score) -> Iterator[list[str]]:
    for term in each.terms:
        yield [term.name, "–" if term.points is None else f"{term.points:.1f}", term.seen]
    lacking = ", ".join(term.name for term in each.terms if term.points is None)
    yield [
        "score",
        f"{each.total:.1f}",
        f"partial, without {lacking}: compares with nothing" if lacking else "complete",
    ]
