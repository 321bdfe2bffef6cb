"""The whole pipeline in one go for one candidate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype, Run
    from gate.settings import Settings


@click.command("run")
@options.impl
@options.kernels
@options.config
@options.measuring
@options.baseline
@options.judging
@options.settings
@options.ncu("worst")
@click.option("--advisory", is_flag=True, help="Exit 0 whatever the verdict; the verdict itself stays what it is.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("artifacts"), help="The folder to write to.")
def command(
    impl: str, kernels: Path, config: str | None, shapes: tuple[str, ...], dtype: Dtype | None, device: str,
    settings: Settings, ncu: str, advisory: bool, out: Path,
) -> int:  # fmt: skip
    """Build, check, time and judge a candidate; writes run.json, report.html, comment.md and env.json."""
    from gate.device import choose_device
    from gate.judge import judge
    from gate.pipeline import measure_candidate
    from gate.profiling.stage import wanted_counters
    from gate.registry import find
    from gate.render import terminal
    from gate.sdpa import backends_of
    from gate.tables import time_spent

    candidate = options.runnable(find(impl, kernels, config))
    chosen = choose_device(device, candidate.devices)
    backends_of(chosen, settings.measure.baseline)  # refuses what is none before torch is imported
    workloads = options.workloads(shapes, dtype, chosen, settings)
    options.check_writable(out / "run.json")
    counters = wanted_counters(ncu, chosen, settings.gates)
    with options.bench(chosen, settings) as bench:
        run = judge(measure_candidate(bench, candidate, workloads, counters=counters), settings.gates)
    try:
        click.echo(terminal(run))
        click.echo(time_spent(run.measurement))
    finally:  # a full disk takes either the files or the answer, and not both
        _write(out, run)
    click.echo(f"written: {out}/run.json, {out}/report.html, {out}/comment.md, {out}/env.json")
    if advisory and run.verdict.exit_code:
        click.echo(f"advisory: exit code {run.verdict.exit_code} of the verdict is reported as 0")
    return 0 if advisory else run.verdict.exit_code


def _write(out: Path, run: Run) -> None:
    from gate.files import write_record, write_text
    from gate.markdown import markdown
    from gate.page import page

    write_record(out / "run.json", run)
    write_text(out / "comment.md", markdown(run))
    write_record(out / "env.json", run.measurement.environment, indent=2)
    write_text(out / "report.html", page(run))


if __name__ == "__main__":
    cli.run(command)
