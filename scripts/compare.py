"""Compares a new measurement with a recorded one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.settings.model import Settings

NOT_COMPARED = (
    "some workloads were not compared, because evidence is missing or contradictory: measure --cand again on a quiet "
    "machine (`kernel-gate doctor`), or record --against again if the table calls it not reliable"
)


@click.command("compare")
@click.option("--cand", type=click.Path(path_type=Path), required=True, help="The new measurement, or a run.json.")
@click.option("--against", type=click.Path(path_type=Path), required=True, help="The recorded one.")
@options.alpha
@options.margin
@options.improvement
@options.settings
@options.out_file
def command(cand: Path, against: Path, settings: Settings, out: Path | None) -> int:
    """Compare a measurement with a recorded one; exits with 1 if it regressed, 2 if undecided, else 0."""
    from gate.records import EXIT_CODES as OUTCOME_CODES
    from gate.records import Outcome
    from gate.report.measurement import changes_table
    from gate.verdict.evidence_file import load_evidence, measurement_of
    from gate.verdict.judge import measurement_outcome
    from gate.verdict.regression import EXIT_CODES, Answer, Changes, changes, overall

    options.check_writable(out)
    new, recorded = (measurement_of(load_evidence(path)) for path in (cand, against))
    seen = changes(new, recorded, settings.gates)
    answer = overall(seen)
    cli.say(f"{answer.value.upper()}: {cand} against {against}\n")
    cli.say(changes_table(seen))
    if any(change.answer is Answer.UNDECIDED and change.ratio for change in seen):
        cli.say("\nundecided: the interval includes the margin; measure again with more replicates")
    if any(change.answer is Answer.UNDECIDED and not change.ratio for change in seen):
        cli.say(f"\n{NOT_COMPARED}")
    options.save(Changes(answer, seen), out)
    behaved = measurement_outcome(new)
    return EXIT_CODES[answer] if behaved is Outcome.PASS else OUTCOME_CODES[behaved]


if __name__ == "__main__":
    cli.run(command)
