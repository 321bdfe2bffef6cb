"""Writes the verdict to the pull request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import cli, extras, options

if TYPE_CHECKING:
    from gate.settings.model import Settings

FILE = click.Path(path_type=Path)


@click.command("comment")
@click.option("--cand", "--run", "cand", type=FILE, required=True, help="From measure-candidate, or a run.json.")
@click.option("--absent", is_flag=True, help="If that file is missing or refused, comment that there is no verdict.")
@click.option("--base", type=FILE, help="The merge base's measurement, if the file exists.")
@click.option("--impl", help="Refuse evidence on any other candidate.")
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Refuse evidence from any other device.")
@click.option("--required", is_flag=True, help="Every workload that the policy requires must be in the evidence.")
@click.option("--suite", help="The suite; it has one comment. Default: CANDIDATE@DEVICE.")
@click.option("--pr", type=click.IntRange(1, 2**53), help="The pull request's number. Default: the event's.")
@click.option("--sha", help="The commit that was judged. Default: the event's.")
@click.option("--author", default="github-actions[bot]", show_default=True, help="The author of the comment to edit.")
@click.option("--dry-run", is_flag=True, help="Print the comment's Markdown without contacting GitHub.")
@options.settings
def command(
    absent: bool, suite: str | None, pr: int | None, sha: str | None, author: str, dry_run: bool, settings: Settings,
    **evidence: Any,
) -> int:  # fmt: skip
    """Write or edit the pull request's comment and the job's summary. Exits with 0 if the evidence can be read.

    The verdict is recomputed by this policy, as in `gate`. If GitHub refuses the comment (read-only token, closed
    pull request, newer commit), the summary and standard output show the reason; the verdict does not change.
    """
    if not dry_run:
        extras.require("github")
    from gate.github.comment import Evidence, message_of, message_or_nothing, post
    from gate.github.context import context_of, read_event
    from gate.github.job_summary import MAX_SUMMARY_BYTES, report_delivery
    from gate.report.markdown import MAX_COMMENT

    place = None if dry_run else context_of(os.environ, read_event(os.environ), pr=pr, sha=sha)
    make = message_or_nothing if absent else message_of
    message = make(Evidence(**evidence), settings, place.links if place else (), suite)
    if place is None:
        click.echo(message.text(MAX_COMMENT), nl=False)
    else:
        report_delivery(post(message, place, author), message.text(MAX_SUMMARY_BYTES))
    return 0


if __name__ == "__main__":
    cli.run(command)
