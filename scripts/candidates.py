"""The registry, for people."""

from __future__ import annotations

from pathlib import Path

import click

from scripts import cli, options


@click.command("candidates")
@options.kernels
@options.device
def command(kernels: Path, device: str) -> int:
    """List the candidates: name, language, architectures, what they support, and whether they can run here."""
    from gate.device import choose_device
    from gate.registry import every
    from gate.tables import candidates_table

    cli.say(candidates_table(every(kernels), choose_device(device)))
    return 0


if __name__ == "__main__":
    cli.run(command)
