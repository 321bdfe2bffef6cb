"""The registry, for people."""

from __future__ import annotations

from pathlib import Path

import click

from scripts import cli, options


@click.command("candidates")
@options.kernels
@options.device
@options.out_file
def command(kernels: Path, device: str, out: Path | None) -> int:
    """List the candidates: name, language, architectures, what they support, and whether they can run here."""
    from gate.availability import listing
    from gate.device import choose_device
    from gate.tables import candidates_table

    options.check_writable(out)
    options.deliver(listing(kernels, choose_device(device)), out, candidates_table)
    return 0


if __name__ == "__main__":
    cli.run(command)
