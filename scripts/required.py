"""The required check of a protected branch."""

from __future__ import annotations

import json

import click

from . import cli


@click.command("required")
@click.option("--needs", required=True, help="The `needs` of the workflow, as JSON.")
def command(needs: str) -> int:
    """Check that every required job ran and passed; exits with 1 if one did not, whatever its own exit code was.

    Exits with 2 if kernels changed but were not measured, and with 3 if there is no plan.
    """
    from gate.errors import BadInputError
    from gate.github.job_summary import append
    from gate.github.required import answer, exit_code
    from gate.report.escaping import safe

    try:
        seen = json.loads(needs)
        outcome, reason = answer(seen)
    except (ValueError, AttributeError) as error:
        raise BadInputError(f"--needs is not the JSON of `needs`: {error}; pass toJSON(needs)") from error
    click.echo(f"{outcome.value}: {reason}")
    append(f"**{outcome.value}**: {safe(reason, 500)}")
    return exit_code(outcome)


if __name__ == "__main__":
    cli.run(command)
