"""Builds a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.settings.model import Settings


@click.command("build")
@options.impl
@options.kernels
@options.config
@options.arch
@options.settings
@options.out_file
def command(
    impl: str, kernels: Path, config: str | None, asked: tuple[str, ...], settings: Settings, out: Path | None
) -> int:
    """Build a candidate, or take it from the cache; prints its kernels' resources, or the compiler's output."""
    from gate.candidates.registry import find_candidate
    from gate.records import EXIT_CODES, Outcome
    from gate.records.verdict import OUTCOMES
    from gate.report.build import build_table
    from gate.storage import write_record

    candidate = find_candidate(impl, kernels, config)
    options.check_writable(out)
    made = options.build_of(candidate, asked, settings)
    cli.say(build_table(made))
    if out is not None:
        write_record(out, made)
    limits = (settings.gates.resources, candidate.resources)
    broken = dict.fromkeys(line for limit in limits for line in limit.broken_by(made.resources))
    for line in broken:
        cli.say(f"above the limit: {line}")
    return EXIT_CODES[Outcome.REJECTED if broken else OUTCOMES[made.status]]


if __name__ == "__main__":
    cli.run(command)
