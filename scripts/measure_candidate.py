"""A candidate against SDPA: the evidence, without judgement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings import Settings


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
    """Build and check a candidate, and time it between the baseline, the baseline again and an empty launch."""
    from gate.device import choose_device
    from gate.judge import conduct
    from gate.pipeline import measure_candidate
    from gate.profiling.show import profile_text
    from gate.profiling.stage import wanted_counters
    from gate.records import EXIT_CODES
    from gate.registry import find
    from gate.sdpa import backends_of
    from gate.tables import times_table

    candidate = options.runnable(find(impl, kernels, config))
    chosen = choose_device(device, candidate.devices)
    backends_of(chosen, settings.measure.baseline)  # refuses what is none before torch is imported
    workloads = options.workloads(shapes, dtype, chosen, settings)
    counters = wanted_counters(ncu, chosen, settings.gates)
    options.check_writable(out)
    with options.bench(chosen, settings) as bench:
        measurement = measure_candidate(bench, candidate, workloads, counters=counters)
    options.deliver(measurement, out, times_table)
    if counters != 0:
        cli.say(profile_text(measurement))
    return EXIT_CODES[conduct(measurement)]


if __name__ == "__main__":
    cli.run(command)
