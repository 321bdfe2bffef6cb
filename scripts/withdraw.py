"""Withdraws the comments on earlier commits of a pull request."""

from __future__ import annotations

import json
import os

import click

from . import cli


@click.command("withdraw")
@click.option("--matrix", default="{}", help="The plan's matrix; its suites are judged now and keep their comments.")
@click.option("--reason", default="", help="The plan's reason.")
@click.option(
    "--author", default="github-actions[bot]", show_default=True, help="The author of the comments to edit."
)
def command(matrix: str, reason: str, author: str) -> int:
    """Mark the comments on earlier commits of the pull request as not of its head; writes no new comment.

    A refusal by GitHub is shown in the summary and on standard output.
    """
    from gate.errors import BadInputError
    from gate.github.comment import withdraw
    from gate.github.context import context_of, read_event
    from gate.github.job_summary import report_delivery

    try:
        judged_now = [entry["suite"] for entry in json.loads(matrix).get("include", ())]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise BadInputError("--matrix is not the output of `plan`; pass its output `matrix`") from error
    place = context_of(os.environ, read_event(os.environ))
    report_delivery(withdraw(place, judged_now, reason, author))
    return 0


if __name__ == "__main__":
    cli.run(command)
