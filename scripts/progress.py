"""What commands say on standard error while they work."""

from __future__ import annotations

import sys

import click

from . import cli


def show(label: str, done: int, total: int) -> None:
    """One line that overwrites itself on a terminal; elsewhere, one line a stage."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{label}: {done}/{total}", nl=False, err=True)
    elif done == 0:
        cli.say(f"{label} ...", err=True)


def clear() -> None:
    """Leaves no progress behind."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def waiting(words: str) -> None:
    """Says what keeps us from beginning."""
    cli.say(f"waiting: {words}", err=True)
