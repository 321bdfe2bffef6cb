"""The fitness of a measured candidate."""

from __future__ import annotations

from pathlib import Path

import click

from scripts import cli


@click.command("score")
@click.option("--cand", type=click.Path(path_type=Path), required=True, help="From measure-candidate, or a run.json.")
def command(cand: Path) -> int:
    """Print the score of a measured candidate, term by term: a number to search by, and no verdict.

    Exit codes: 0 scored; 2 nothing to score.
    """
    from gate.files import load, measurement_of
    from gate.profiling.score import score, score_text

    measurement = measurement_of(load(cand))
    scores = {each.workload: score(measurement, each) for each in measurement.evaluations}
    cli.say(score_text(scores))
    return 0 if any(scores.values()) else 2


if __name__ == "__main__":
    cli.run(command)
