"""Measures SDPA's backends against each other, without a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings.model import Settings


@click.command("measure-sdpa")
@click.option("--backend", default="all", help="flash, cudnn, efficient, math or all.")
@options.measuring
@options.settings
@options.out_file
def command(
    backend: str, shapes: tuple[str, ...], dtype: Dtype | None, device: str, settings: Settings, out: Path | None
) -> int:
    """Time SDPA's backends, interleaved, and name the fastest."""
    from gate.measure.pipeline import measure_sdpa
    from gate.records import EXIT_CODES
    from gate.records.sdpa import backends_of
    from gate.report.measurement import times_table
    from gate.runtime.device import choose_device
    from gate.verdict.judge import measurement_outcome

    chosen = choose_device(device)
    workloads = options.workloads(shapes, dtype, chosen, settings, checked=False)
    backends_of(chosen, backend)  # refuses an unknown backend before torch is imported
    options.check_writable(out)
    with options.session(chosen, settings) as session:
        measurement = measure_sdpa(session, backend, workloads)
    options.deliver(measurement, out, times_table)
    return EXIT_CODES[measurement_outcome(measurement)]


if __name__ == "__main__":
    cli.run(command)
