"""Replays the decision rules over recorded trials and prints their error rates."""

from __future__ import annotations

from pathlib import Path

import click

from . import cli, options, progress


@click.command("calibrate")
@click.option(
    "--data", "recording", type=click.Path(path_type=Path), required=True, help="An .npz of recorded trials."
)
@click.option("--draws", type=int, default=1_000, help="Trials drawn per workload and mode.")
@click.option("--replicates", type=int, default=10, help="Replicates per trial, for rules with a fixed number.")
@click.option("--alpha", type=float, default=0.05, help="One minus the confidence.")
@click.option("--seed", type=int, default=42, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@options.out_file
def command(
    recording: Path, draws: int, replicates: int, alpha: float, seed: int, as_json: bool, out: Path | None
) -> int:
    """Print every rule's false alarms, coverage, power, interval width and replicates; Kernel Gate's rule first."""
    from gate.calibration.calibrate import CalibrationReport, calibrate, load_recorded
    from gate.calibration.intervals import ReplayDesign
    from gate.errors import BadInputError
    from gate.records.codec import to_json
    from gate.report.calibration import calibration_table
    from gate.storage import write_record

    options.check_writable(out)
    try:
        plan = ReplayDesign(draws, replicates, alpha=alpha, seed=seed)
    except ValueError as error:
        raise BadInputError(f"{error}; fix that option") from error
    recorded = load_recorded(recording)
    try:
        rows = CalibrationReport(tuple(calibrate(recorded, plan, progress.show)))
    finally:
        progress.clear()
    if out is not None:
        write_record(out, rows, indent=2)
    click.echo(to_json(rows, indent=2) if as_json else calibration_table(rows.rows))
    return 0


if __name__ == "__main__":
    cli.run(command)
