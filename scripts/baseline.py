"""Records SDPA's times on this machine for later comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype, Measurement
    from gate.settings.model import Settings


@click.command("baseline")
@options.measuring
@options.settings
@click.option("--check", is_flag=True, help="Measure, and compare with the existing record.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("baselines"), help="The folder of records.")
def command(
    shapes: tuple[str, ...], dtype: Dtype | None, device: str, settings: Settings, check: bool, folder: Path
) -> int:
    """Record SDPA's backends on the required workloads and a wider matrix: baselines/<device>/sdpa.json."""
    from gate.measure.pipeline import measure_sdpa
    from gate.report.measurement import times_table
    from gate.runtime.device import choose_device
    from gate.session import describe_environment
    from gate.settings.model import parse_workload
    from gate.verdict.baseline_store import load_record, record_path, refuse_folder, refuse_loss, save_record

    chosen = choose_device(device)
    workloads = options.workloads(shapes, dtype, chosen, settings, checked=False)
    if not shapes:
        workloads = (*workloads, *(parse_workload(text) for text in settings.extra_workloads[chosen]))
    refuse_folder(folder, needed=check)
    with options.session(chosen, settings) as session:
        path = record_path(folder, describe_environment(session.server, chosen).device_name)
        before = load_record(path) if check else None
        if not check:
            refuse_loss(path, workloads)
            options.check_writable(path)
        measurement = measure_sdpa(session, "all", workloads)
    if before is not None:
        return _report(measurement, before, path, settings)
    cli.say(times_table(measurement))
    save_record(measurement, path, settings.gates)
    cli.say(f"written: {path}")
    return 0


def _report(measurement: Measurement, before: Measurement, path: Path, settings: Settings) -> int:
    from gate.report.measurement import changes_table
    from gate.verdict.regression import EXIT_CODES, changes, overall

    seen = changes(measurement, before, settings.gates)
    cli.say(f"{overall(seen).value.upper()}: this machine against {path}\n\n{changes_table(seen)}")
    return EXIT_CODES[overall(seen)]


if __name__ == "__main__":
    cli.run(command)
