"""Says the verdict on the pull request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.settings import Settings

FILE = click.Path(path_type=Path)


@click.command("comment")
@click.option("--run", "--cand", "path", type=FILE, required=True, help="From gate, run or measure-candidate.")
@click.option("--absent", is_flag=True, help="Where that file is missing, say that there is no verdict.")
@click.option("--base", type=FILE, help="The merge base's measurement, if that file is there.")
@click.option("--suite", help="One comment a suite. Default: the candidate and the device.")
@click.option("--pr", type=int, help="The pull request's number. Default: the event's.")
@click.option("--sha", help="The commit that was judged. Default: the event's.")
@click.option("--author", default="github-actions[bot]", show_default=True, help="Whose comment to edit.")
@click.option("--dry-run", is_flag=True, help="Print the comment's Markdown and ask GitHub nothing.")
@options.settings
def command(
    path: Path, absent: bool, base: Path | None, suite: str | None, pr: int | None, sha: str | None, author: str,
    dry_run: bool, settings: Settings,
) -> int:  # fmt: skip
    """Write or edit the pull request's comment, and the job's summary. 0 unless the verdict cannot be read.

    What GitHub refuses (a read-only token, a closed pull request, a newer commit) is said in the summary and on
    standard output: the verdict stands without the comment.
    """
    from gate.github.place import place_of, read_event
    from gate.github.report import message_of, message_of_nothing, post, read_run, surroundings
    from gate.github.summary import MOST, append, outputs
    from gate.markdown import MOST_COMMENT

    place = None if dry_run else place_of(os.environ, read_event(os.environ), pr=pr, sha=sha)
    links = place.links if place else ()
    if absent and not path.exists():
        message = message_of_nothing(links, suite)
    else:
        run = read_run(path, settings.gates)
        message = message_of(run, surroundings(run, base, settings.gates, links), suite)
    if place is None:
        click.echo(message.text(MOST_COMMENT), nl=False)
        return 0
    delivery = post(message, place, author)
    said = f"{delivery.done}: {delivery.said} {delivery.url}".rstrip()
    click.echo(said)
    outputs({"done": delivery.done, "url": delivery.url})
    append(f"{message.text(MOST)}\nComment {said}\n")
    return 0


if __name__ == "__main__":
    cli.run(command)
