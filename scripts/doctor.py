"""What this machine can and cannot do."""

from __future__ import annotations

import click

from scripts import cli, options


@click.command("doctor")
@options.device
def command(device: str) -> int:
    """Say what is present, what is missing and how to mend it; 0 where candidates can be judged here, else 69."""
    from gate.device import choose_device
    from gate.doctor import examine
    from gate.errors import UnfitEnvironmentError
    from gate.tables import doctor_table

    chosen = choose_device(device)
    findings = examine(chosen)
    click.echo(doctor_table(findings))
    missing = [finding.item for finding in findings if finding.needed and not finding.present]
    if missing:
        raise UnfitEnvironmentError(
            f"missing for --device {chosen}: {', '.join(missing)}; the table says how to mend it"
        )
    click.echo(f"this machine can judge candidates on {chosen}")
    return 0


if __name__ == "__main__":
    cli.run(command)
