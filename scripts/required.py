"""The check that a branch is protected with."""

from __future__ import annotations

import json

import click

from . import cli


@click.command("required")
@click.option("--needs", required=True, help="The `needs` of the workflow, as JSON.")
def command(needs: str) -> int:
    """Say whether every job that had to happen did, and passed: 0; 1 where one did not, whatever its own code was.

    2 where kernels changed and were not measured, 3 where there is no plan.
    """
    from gate.errors import BadInputError
    from gate.github.job_summary import append
    from gate.github.required import answer, exit_code
    from gate.report.escaping import safe

    try:
        seen = json.loads(needs)
        outcome, why = answer(seen)
    except (ValueError, AttributeError) as error:
        raise BadInputError(f"--needs is not the JSON of `needs`: {error}; pass toJSON(needs)") from error
    click.echo(f"{outcome.value}: {why}")
    append(f"**{outcome.value}**: {safe(why, 500)}")
    return exit_code(outcome)


if __name__ == "__main__":
    cli.run(command)
