"""What SDPA takes on this machine, for later comparison."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Measurement
    from gate.settings import Settings


@click.command("baseline")
@options.measuring
@options.settings
@click.option("--check", is_flag=True, help="Measure, and say whether the record still describes this machine.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("baselines"), help="Where records are.")
def command(
    shapes: tuple[str, ...], dtype: str | None, device: str, settings: Settings, check: bool, folder: Path
) -> int:
    """Record SDPA's backends on the required workloads and a wider matrix: baselines/<device>/sdpa.json."""
    from gate.asking import describe_environment
    from gate.device import choose_device
    from gate.judge import conduct
    from gate.pipeline import measure_sdpa
    from gate.records import EXIT_CODES
    from gate.settings import parse_workload
    from gate.tables import times_table

    chosen = choose_device(device)
    workloads = options.workloads(shapes, dtype, chosen, settings)
    if not shapes:
        workloads = (*workloads, *(parse_workload(text) for text in settings.wider[chosen]))
    with options.bench(chosen, settings) as bench:
        name = describe_environment(bench.server, chosen).device_name
        path = folder / slug(name) / "sdpa.json"
        recorded = _recorded(path) if check else None
        measurement = measure_sdpa(bench, "all", workloads)
    if recorded is not None:
        return _report(measurement, recorded, path, settings)
    options.deliver(measurement, path, times_table)
    return EXIT_CODES[conduct(measurement)]


def _recorded(path: Path) -> Measurement:
    """Raises BadInputError where there is none."""
    from gate.errors import BadInputError
    from gate.files import load, measurement_of

    if not path.exists():
        raise BadInputError(
            f"no record of this device at {path}; make one with `kernel-gate baseline`, and commit it"
        )
    return measurement_of(load(path))


def slug(name: str) -> str:
    """A device's name as a folder: `NVIDIA H200` is `nvidia-h200`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _report(measurement: Measurement, recorded: Measurement, path: Path, settings: Settings) -> int:
    from gate.regression import EXIT_CODES, changes, overall
    from gate.tables import changes_table

    seen = changes(measurement, recorded, settings.gates)
    click.echo(f"{overall(seen).value.upper()}: this machine against {path}\n\n{changes_table(seen)}")
    return EXIT_CODES[overall(seen)]


if __name__ == "__main__":
    cli.run(command)
