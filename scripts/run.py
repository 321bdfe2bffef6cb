"""Runs the whole pipeline for one candidate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype, Run
    from gate.settings.model import Settings


@click.command("run")
@options.impl
@options.kernels
@options.config
@options.measuring
@options.baseline
@options.judging
@options.settings
@options.ncu("worst")
@click.option(
    "--advisory", is_flag=True, help="Exit with 0 whatever the verdict is; the verdict itself does not change."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("artifacts"), help="The folder to write to.")
def command(
    impl: str, kernels: Path, config: str | None, shapes: tuple[str, ...], dtype: Dtype | None, device: str,
    settings: Settings, ncu: str, advisory: bool, out: Path,
) -> int:  # fmt: skip
    """Build, check, time and judge a candidate; writes run.json, report.html, comment.md and env.json."""
    from gate.candidates.registry import find_candidate
    from gate.measure.pipeline import measure_candidate
    from gate.profiling.stage import wanted_counters
    from gate.records.sdpa import backends_of
    from gate.report.measurement import time_spent
    from gate.report.terminal import terminal
    from gate.runtime.device import choose_device
    from gate.verdict.judge import judge

    candidate = options.runnable(find_candidate(impl, kernels, config))
    chosen = choose_device(device, candidate.devices)
    backends_of(chosen, settings.measure.baseline)  # refuses an unknown backend before torch is imported
    workloads = options.workloads(shapes, dtype, chosen, settings)
    options.check_writable(out / "run.json")
    counters = wanted_counters(ncu, chosen, settings.gates)
    with options.session(chosen, settings) as session:
        run = judge(measure_candidate(session, candidate, workloads, counters=counters), settings.gates)
    try:
        click.echo(terminal(run))
        click.echo(time_spent(run.measurement))
    finally:  # on a full disk one of the two may fail; the other is still delivered
        _write(out, run)
    click.echo(f"written: {out}/run.json, {out}/report.html, {out}/comment.md, {out}/env.json")
    if advisory and run.verdict.exit_code:
        click.echo(f"advisory: exits with 0; the verdict's exit code is {run.verdict.exit_code}")
    return 0 if advisory else run.verdict.exit_code


def _write(out: Path, run: Run) -> None:
    from gate.report.html import page
    from gate.report.markdown import markdown
    from gate.storage import write_record, write_text

    write_record(out / "run.json", run)
    write_text(out / "comment.md", markdown(run))
    write_record(out / "env.json", run.measurement.environment, indent=2)
    write_text(out / "report.html", page(run))


if __name__ == "__main__":
    cli.run(command)
