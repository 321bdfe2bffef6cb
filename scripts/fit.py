"""Whether a machine is still fit to judge."""

from __future__ import annotations

from pathlib import Path

import click

from . import cli


@click.command("fit")
@click.option("--run", "path", type=click.Path(path_type=Path), required=True, help="Any candidate's run.json.")
def command(path: Path) -> int:
    """Read the gates that look at the machine, not at the candidate: 0 where all passed, 69 where one did not."""
    from gate.errors import BadInputError
    from gate.github.job_summary import append
    from gate.records import EXIT_CODES, Outcome, Run
    from gate.report.escaping import escape
    from gate.verdict.evidence_file import load_evidence
    from gate.verdict.fitness import machine_findings

    run = load_evidence(path)
    if not isinstance(run, Run):
        raise BadInputError(f"{path} is not judged; name the run.json of `kernel-gate run` or `gate`")
    fit, lines = machine_findings(run)
    told = "\n".join(f"- {line}" for line in (f"{'fit' if fit else 'UNFIT'} to judge", *lines))
    click.echo(told)
    append(escape(told))
    return 0 if fit else EXIT_CODES[Outcome.ENVIRONMENT]


if __name__ == "__main__":
    cli.run(command)
