"""Lists the registry of candidates."""

from __future__ import annotations

from pathlib import Path

import click

from . import cli, options


@click.command("candidates")
@options.kernels
@options.device
@options.out_file
def command(kernels: Path, device: str, out: Path | None) -> int:
    """List the candidates: name, language, architectures, supported workloads, and whether they can run here."""
    from gate.doctor.availability import list_candidates
    from gate.report.machine import candidates_table
    from gate.runtime.device import choose_device

    options.check_writable(out)
    options.deliver(list_candidates(kernels, choose_device(device)), out, candidates_table)
    return 0


if __name__ == "__main__":
    cli.run(command)
