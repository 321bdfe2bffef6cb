"""Prints the score of a measured candidate."""

from __future__ import annotations

from pathlib import Path

import click

from . import cli, options


@click.command("score")
@click.option("--cand", type=click.Path(path_type=Path), required=True, help="From measure-candidate, or a run.json.")
@options.out_file
def command(cand: Path, out: Path | None) -> int:
    """Print the score of a measured candidate, term by term. The score guides a search and is not a verdict.

    Exit codes: 0 scored; 2 nothing to score.
    """
    from gate.analysis.score import Scores, score
    from gate.report.score import score_text
    from gate.verdict.evidence_file import load_evidence, measurement_of

    options.check_writable(out)
    measurement = measurement_of(load_evidence(cand))
    scores = tuple(score(measurement, evaluation) for evaluation in measurement.evaluations)
    options.deliver(Scores(measurement.impl, scores), out, score_text)
    return 0 if any(score.terms for score in scores) else 2


if __name__ == "__main__":
    cli.run(command)
