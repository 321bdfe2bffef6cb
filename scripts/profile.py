"""Reads hardware counters and explains them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from . import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings.model import Settings


@click.command("profile")
@click.option("--impl", envvar="IMPL", help="The candidate, a name in the registry (or IMPL).")
@click.option("--backend", help="Profile an SDPA backend instead: flash, cudnn, efficient, math or best.")
@options.kernels
@options.config
@options.shape
@options.dtype
@options.device
@options.baseline
@click.option("--clock-control", is_flag=True, help="Let Nsight Compute lock the base clock. Default: no lock.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the roofline to this file, .svg or .png.")
@options.settings
@options.out_file
def command(
    impl: str | None, backend: str | None, kernels: Path, config: str | None, shapes: tuple[str, ...],
    dtype: Dtype | None, device: str, clock_control: bool, plot: Path | None, settings: Settings, out: Path | None,
) -> int:  # fmt: skip
    """Read the hardware counters of a candidate and its baseline, and explain what limits its speed.

    Exit codes: 0 measured; 3 the candidate failed; 69 the counters cannot be read here.
    """
    from gate.candidates.registry import find_candidate
    from gate.profiling.command import need_counters, profile_candidate, profiling_outcome
    from gate.profiling.ncu import Options
    from gate.records import EXIT_CODES
    from gate.report.profile import profile_text
    from gate.report.roofline_plot import form_of, save
    from gate.runtime.device import choose_device

    if (
        backend is not None
        and click.get_current_context().get_parameter_source("impl") is ParameterSource.ENVIRONMENT
    ):
        impl = None  # an option on the command line overrides the environment variable IMPL
    if (impl is None) == (backend is None):
        raise click.UsageError("Name one of --impl and --backend.")
    form = form_of(plot)
    options.check_writable(out)
    candidate = find_candidate(impl, kernels, config) if impl else None
    chosen = choose_device(device, candidate.devices if candidate else ("cuda",))
    wanted = backend or settings.measure.baseline
    need_counters(chosen, wanted)
    workloads = options.workloads(shapes, dtype, chosen, settings)
    with options.session(chosen, settings) as session:
        seen = profile_candidate(session, candidate, wanted, workloads, Options(clock_control))
    options.deliver(seen, out, profile_text)
    if plot is not None and save(seen, plot, form):
        cli.say(f"written: {plot}")
    return EXIT_CODES[profiling_outcome(seen)]


if __name__ == "__main__":
    cli.run(command)
