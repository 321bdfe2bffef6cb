"""Judges a measurement from its raw samples: no GPU, no torch, no candidate code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, extras, options

if TYPE_CHECKING:
    from gate.settings.model import Settings

FILE = click.Path(path_type=Path)


@click.command("gate")
@click.option("--cand", type=FILE, required=True, help="From measure-candidate, or a run.json.")
@click.option("--sdpa", type=FILE, help="From measure-sdpa; replaces the SDPA trials of --cand.")
@click.option("--impl", help="Refuse evidence on any other candidate.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Refuse evidence from any other device.")
@click.option("--required", is_flag=True, help="Require all workloads of the policy, against its baseline.")
@options.baseline
@options.judging
@options.settings
@click.option("--out", type=FILE, help="Write the judged run to this file.")
@click.option("--report", type=FILE, help="Write a web page of the run to this file.")
@click.option("--github", is_flag=True, help="Also write annotations, the job's summary and its outputs.")
def command(
    cand: Path, sdpa: Path | None, impl: str | None, device: str | None, required: bool, settings: Settings,
    out: Path | None, report: Path | None, github: bool,
) -> int:  # fmt: skip
    """Judge a measurement. The policy comes from gate.toml and these options, never from the evidence."""
    if report is not None:
        extras.require("report")
    from gate.analysis.comparison import join
    from gate.report.html import page
    from gate.report.terminal import terminal
    from gate.storage import write_record, write_text
    from gate.text import one_line
    from gate.verdict.admission import judge_admitted, shortcomings
    from gate.verdict.evidence_file import load_evidence, measurement_of

    measurement = measurement_of(load_evidence(cand))
    if sdpa is not None:
        measurement = join(measurement, measurement_of(load_evidence(sdpa)))
    options.check_writable(out, chars=1)  # without room for the whole file, there still is an answer
    options.check_writable(report)
    run = judge_admitted(measurement, cand, settings, impl, device, required)
    try:
        click.echo(terminal(run))
    finally:  # on a full disk one of the two may fail; the other is still delivered
        if out is not None:
            write_record(out, run)
    for shortcoming in () if required else shortcomings(measurement, settings):
        cli.say(f"warning: {one_line(shortcoming)}; with --required this is undecided")
    if github:
        from gate.github.job_summary import write_job_summary

        write_job_summary(run, out)
    if report is not None:
        write_text(report, page(run))
    return run.verdict.exit_code


if __name__ == "__main__":
    cli.run(command)
