"""The fitness of a measured candidate."""

from __future__ import annotations

from pathlib import Path

import click

from scripts import cli, options


@click.command("score")
@click.option("--cand", type=click.Path(path_type=Path), required=True, help="From measure-candidate, or a run.json.")
@options.out_file
def command(cand: Path, out: Path | None) -> int:
    """Print the score of a measured candidate, term by term: a number to search by, and no verdict.

    Exit codes: 0 scored; 2 nothing to score.
    """
    from gate.files import load, measurement_of
    from gate.profiling.score import Scores, score, score_text

    options.check_writable(out)
    measurement = measurement_of(load(cand))
    scores = tuple(score(measurement, each) for each in measurement.evaluations)
    options.deliver(Scores(measurement.impl, scores), out, score_text)
    return 0 if any(each.terms for each in scores) else 2


if __name__ == "__main__":
    cli.run(command)
