"""Checks whether a machine is still fit to judge."""

from __future__ import annotations

from pathlib import Path

import click

from . import cli


@click.command("fit")
@click.option("--run", "path", type=click.Path(path_type=Path), required=True, help="Any candidate's run.json.")
def command(path: Path) -> int:
    """Read a run's gates on the machine, not on the candidate; exits with 69 if one did not pass."""
    from gate.errors import BadInputError
    from gate.github.job_summary import append
    from gate.records import EXIT_CODES, Outcome, Run
    from gate.report.escaping import escape
    from gate.verdict.evidence_file import load_evidence
    from gate.verdict.fitness import machine_findings

    run = load_evidence(path)
    if not isinstance(run, Run):
        raise BadInputError(
            f"{path} contains no verdict; pass the run.json of `kernel-gate run` or `kernel-gate gate`"
        )
    fit, lines = machine_findings(run)
    summary = "\n".join(f"- {line}" for line in (f"{'fit' if fit else 'UNFIT'} to judge", *lines))
    click.echo(summary)
    append(escape(summary))
    return 0 if fit else EXIT_CODES[Outcome.ENVIRONMENT]


if __name__ == "__main__":
    cli.run(command)
