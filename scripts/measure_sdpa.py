"""SDPA's backends against one another: the evidence, without judgement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings import Settings


@click.command("measure-sdpa")
@click.option("--backend", default="all", help="flash, cudnn, efficient, math, or all there are.")
@options.measuring
@options.settings
@options.out_file
def command(
    backend: str, shapes: tuple[str, ...], dtype: Dtype | None, device: str, settings: Settings, out: Path | None
) -> int:
    """Time SDPA's backends, interleaved, and name the fastest."""
    from gate.device import choose_device
    from gate.judge import conduct
    from gate.pipeline import measure_sdpa
    from gate.records import EXIT_CODES
    from gate.sdpa import backends_of
    from gate.tables import times_table

    chosen = choose_device(device)
    workloads = options.workloads(shapes, dtype, chosen, settings, checked=False)
    backends_of(chosen, backend)  # refuses what is none before torch is imported
    options.check_writable(out)
    with options.bench(chosen, settings) as bench:
        measurement = measure_sdpa(bench, backend, workloads)
    options.deliver(measurement, out, times_table)
    return EXIT_CODES[conduct(measurement)]


if __name__ == "__main__":
    cli.run(command)
