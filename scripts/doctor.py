"""Shows what this machine can and cannot do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.records.diagnosis import Finding
    from gate.settings.model import Settings


@click.command("doctor")
@options.device
@click.option("--quick", is_flag=True, help="Skip the noise measurement, which takes ten seconds.")
@options.settings
@options.out_file
def command(device: str, quick: bool, settings: Settings, out: Path | None) -> int:
    """Show what is present, what is missing and how to fix it; exits with 69 if no candidate can be judged here."""
    from gate.doctor.host import examine
    from gate.errors import UnfitEnvironmentError
    from gate.records.diagnosis import Examination
    from gate.report.machine import doctor_table
    from gate.runtime.device import choose_device

    options.check_writable(out)
    chosen = choose_device(device)
    found = Examination(chosen, tuple(examine(chosen)))
    click.echo(doctor_table(found.findings))
    if not (found.missing or quick):
        noise = _noise(chosen, settings)
        click.echo(doctor_table([noise]))
        found = replace(found, findings=(*found.findings, noise))
    options.save(found, out)
    if found.missing:
        raise UnfitEnvironmentError(
            f"missing for --device {chosen}: {', '.join(found.missing)}; the table shows how to fix it"
        )
    coarse = "" if quick or found.findings[-1].present else ", but detects only large differences: see the table"
    click.echo(f"this machine can judge candidates on {chosen}{coarse}")
    return 0


def _noise(device: str, settings: Settings) -> Finding:
    """Measures noise at the smallest required workload, where it is largest."""
    from gate.doctor.noise import expected_noise

    smallest = min(settings.required(device), key=lambda workload: workload.flops)
    with options.session(device, settings) as session:
        return expected_noise(session, smallest)


if __name__ == "__main__":
    cli.run(command)
