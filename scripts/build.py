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
@options.config
@click.option(
    "--arch", "asked", multiple=True, metavar="8.9", help="A CUDA architecture; repeat for more. Default: this GPU's."
)
@options.settings
@options.out_file
def command(
    impl: str, kernels: Path, config: str | None, asked: tuple[str, ...], settings: Settings, out: Path | None
) -> int:
    """Build a candidate, or find it in the cache; prints what its kernels take, or the compiler's own words."""
    from gate.build import build, cached_build
    from gate.files import write_record
    from gate.outcomes import OUTCOMES
    from gate.records import EXIT_CODES, Outcome
    from gate.registry import find
    from gate.tables import build_table
    from gate.workers import WorkerServer

    candidate = find(impl, kernels, config)
    options.check_writable(out)
    made = cached_build(candidate, asked)
    if made is None:
        with WorkerServer(settings.limits) as server:
            made = build(candidate, server, settings.limits.build_s, asked)
    click.echo(build_table(made))
    if out is not None:
        write_record(out, made)
    limits = (settings.gates.resources, candidate.resources)
    broken = dict.fromkeys(line for each in limits for line in each.broken_by(made.resources))
    for line in broken:
        click.echo(f"too much: {line}")
    return EXIT_CODES[Outcome.REJECTED if broken else OUTCOMES[made.status]]


if __name__ == "__main__":
    cli.run(command)
