"""Measures a candidate against SDPA, without a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings.model import Settings


@click.command("measure-candidate")
@options.impl
@options.kernels
@options.config
@options.measuring
@options.baseline
@options.ncu("none")
@options.settings
@options.out_file
def command(
    impl: str, kernels: Path, config: str | None, shapes: tuple[str, ...], dtype: Dtype | None, device: str,
    ncu: str, settings: Settings, out: Path | None,
) -> int:  # fmt: skip
    """Build and check a candidate, and time it against the baseline, the A/A control and an empty launch."""
    from gate.candidates.registry import find_candidate
    from gate.measure.pipeline import measure_candidate
    from gate.profiling.stage import wanted_counters
    from gate.records import EXIT_CODES
    from gate.records.sdpa import backends_of
    from gate.report.measurement import times_table
    from gate.report.profile import profile_text
    from gate.runtime.device import choose_device
    from gate.verdict.judge import measurement_outcome

    candidate = options.runnable(find_candidate(impl, kernels, config))
    chosen = choose_device(device, candidate.devices)
    backends_of(chosen, settings.measure.baseline)  # refuses an unknown backend before torch is imported
    workloads = options.workloads(shapes, dtype, chosen, settings)
    counters = wanted_counters(ncu, chosen, settings.gates)
    options.check_writable(out)
    with options.session(chosen, settings) as session:
        measurement = measure_candidate(session, candidate, workloads, counters=counters)
    options.deliver(measurement, out, times_table)
    if counters != 0:
        cli.say(profile_text(measurement))
    return EXIT_CODES[measurement_outcome(measurement)]


if __name__ == "__main__":
    cli.run(command)
