"""A new measurement against a recorded one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.settings.model import Settings

UNBELIEVED = (
    "nothing is compared where evidence is missing or contradicts itself: measure --cand again on a quiet machine "
    "(`kernel-gate doctor`), or record --against again where the table says that it cannot be believed"
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
    """Say whether a kernel regressed, was maintained or improved: 0 unless regressed (1) or undecided (2)."""
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
        cli.say("\nmeasure again, with more replicates: an interval decides where it lies on one side of the margin")
    if any(change.answer is Answer.UNDECIDED and not change.ratio for change in seen):
        cli.say(f"\n{UNBELIEVED}")
    options.save(Changes(answer, seen), out)
    behaved = measurement_outcome(new)
    return EXIT_CODES[answer] if behaved is Outcome.PASS else OUTCOME_CODES[behaved]


if __name__ == "__main__":
    cli.run(command)
