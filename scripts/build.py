"""Builds a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.settings import Settings


@click.command("build")
@options.impl
@options.kernels
@options.settings
@options.out_file
def command(impl: str, kernels: Path, settings: Settings, out: Path | None) -> int:
    """Build a candidate, or find it in the cache; prints the cache's state, the seconds and the library."""
    from gate.build import build, cached_build
    from gate.files import write_record
    from gate.gates import OUTCOMES
    from gate.records import EXIT_CODES
    from gate.registry import find
    from gate.tables import build_table
    from gate.workers import WorkerServer

    candidate = find(impl, kernels)
    options.check_writable(out)
    made = cached_build(candidate)
    if made is None:
        with WorkerServer(settings.limits) as server:
            made = build(candidate, server, settings.limits.build_s)
    click.echo(build_table(made))
    if out is not None:
        write_record(out, made)
    return EXIT_CODES[OUTCOMES[made.status]]


if __name__ == "__main__":
    cli.run(command)
