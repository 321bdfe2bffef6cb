"""The hard gates, from raw samples alone: no GPU, no torch, and never the candidate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.settings import Settings


@click.command("gate")
@click.option("--cand", type=click.Path(path_type=Path), required=True, help="From measure-candidate, or a run.json.")
@click.option(
    "--sdpa", type=click.Path(path_type=Path), help="From measure-sdpa; needed where --cand has no baseline."
)
@click.option("--impl", help="Refuse evidence on any other candidate.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Refuse evidence from any other device.")
@click.option("--required", is_flag=True, help="Every workload that the policy requires must be in the evidence.")
@options.judging
@options.settings
@click.option("--out", type=click.Path(path_type=Path), help="Write the judged run to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a web page about it to this file.")
@click.option("--github", is_flag=True, help="Also write annotations, the job's summary and its outputs.")
def command(
    cand: Path, sdpa: Path | None, impl: str | None, device: str | None, required: bool, settings: Settings,
    out: Path | None, report: Path | None, github: bool,
) -> int:  # fmt: skip
    """Judge a measurement. The policy is gate.toml's and these options', never the evidence's own."""
    from gate.compare import join
    from gate.expected import refuse_other
    from gate.files import load, measurement_of, write_record, write_text
    from gate.judge import judge
    from gate.page import page
    from gate.render import terminal

    measurement = refuse_other(measurement_of(load(cand)), cand, impl, device)
    if sdpa is not None:
        measurement = join(measurement, measurement_of(load(sdpa)))
    if required:
        asked = (*settings.required(measurement.environment.device), *measurement.workloads)
        measurement = replace(measurement, workloads=tuple(dict.fromkeys(asked)))
    run = judge(measurement, settings.gates)
    if out is not None:
        write_record(out, run)
    if report is not None:
        write_text(report, page(run))
    click.echo(terminal(run))
    if github:
        from gate.github.summary import tell_job

        tell_job(run, out)
    return run.verdict.exit_code


if __name__ == "__main__":
    cli.run(command)
