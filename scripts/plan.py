"""What an event on GitHub asks for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.settings.model import Settings


@click.command("plan")
@options.settings
def command(settings: Settings) -> int:
    """Decide what to measure and where; writes the job's outputs and summary. Reads GitHub's environment."""
    from gate.github.context import context_of, read_event
    from gate.github.job_summary import append, outputs
    from gate.github.plan import Asked, plan
    from gate.github.repository import GithubReader
    from gate.report.escaping import safe

    event = read_event(os.environ)
    place = context_of(os.environ, event)
    actors = tuple(filter(None, map(os.environ.get, ("GITHUB_ACTOR", "GITHUB_TRIGGERING_ACTOR"))))
    asked = Asked(os.environ.get("GITHUB_EVENT_NAME", ""), event, os.environ.get("GITHUB_SHA", ""), actors)
    made = plan(asked, GithubReader(place.api_url, place.repository), settings.github)
    said = made.outputs()
    for name, value in said.items():
        click.echo(f"{name}: {value}")
    outputs(said)
    append(safe(f"{'Measured' if made.suites else 'Not measured'}: {made.reason}", 500))
    return 0


if __name__ == "__main__":
    cli.run(command)
