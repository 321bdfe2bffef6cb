"""Plans the measurements for a GitHub event."""

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
    from gate.github.plan import Event, plan
    from gate.github.repository import GithubReader
    from gate.report.escaping import safe

    event = read_event(os.environ)
    context = context_of(os.environ, event)
    actors = tuple(filter(None, map(os.environ.get, ("GITHUB_ACTOR", "GITHUB_TRIGGERING_ACTOR"))))
    request = Event(os.environ.get("GITHUB_EVENT_NAME", ""), event, os.environ.get("GITHUB_SHA", ""), actors)
    made = plan(request, GithubReader(context.api_url, context.repository), settings.github)
    for name, value in made.outputs().items():
        click.echo(f"{name}: {value}")
    outputs(made.outputs())
    append(safe(f"{'Measured' if made.suites else 'Not measured'}: {made.reason}", 500))
    return 0


if __name__ == "__main__":
    cli.run(command)
