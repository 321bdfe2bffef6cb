"""Correctness over a matrix of workloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings import Settings


@click.command("fuzz")
@options.impl
@options.kernels
@options.dtype
@options.device
@click.option("--full", is_flag=True, help="The full matrix, which is the default on a GPU.")
@options.settings
@options.out_file
def command(
    impl: str, kernels: Path, dtype: Dtype | None, device: str, full: bool, settings: Settings, out: Path | None
) -> int:
    """Check a candidate over a matrix of workloads: 0 all passed, 1 something failed, 2 no such candidate."""
    from gate.device import choose_device
    from gate.gates import OUTCOMES
    from gate.pipeline import fuzz
    from gate.records import EXIT_CODES, Status
    from gate.registry import find
    from gate.tables import correctness_table

    candidate = find(impl, kernels)
    chosen = choose_device(device, candidate.devices)
    matrix = settings.fuzz["full" if full or chosen == "cuda" else "small"]
    workloads = matrix.workloads(dtype or options.DEFAULT_DTYPES[chosen])
    options.check_writable(out)
    with options.bench(chosen, settings) as bench:
        measurement = fuzz(bench, candidate, workloads)
    options.deliver(measurement, out, correctness_table)
    if measurement.build is not None and measurement.build.status is not Status.OK:
        return EXIT_CODES[OUTCOMES[measurement.build.status]]
    statuses = [each.correctness.status for each in measurement.evaluations if each.correctness]
    checked = [status for status in statuses if status is not Status.UNSUPPORTED]
    return 0 if checked and set(checked) == {Status.OK} else 1


if __name__ == "__main__":
    cli.run(command)
