"""Shows a command's progress on standard error."""

from __future__ import annotations

import sys

import click

from . import cli


def show(label: str, done: int, total: int) -> None:
    """On a terminal one line that is overwritten; otherwise one line for each stage."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{label}: {done}/{total}", nl=False, err=True)
    elif done == 0:
        cli.say(f"{label} ...", err=True)


def clear() -> None:
    """Clears the progress line."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def waiting(reason: str) -> None:
    """Shows what the command is waiting for."""
    cli.say(f"waiting: {reason}", err=True)
