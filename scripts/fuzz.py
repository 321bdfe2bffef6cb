"""Correctness over a matrix of cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.settings import Settings


@click.command("fuzz")
@options.fuzzing
@options.settings
@options.out_file
def command(
    impl: str | None, kernels: Path, config: str | None, dtype: Dtype | None, device: str, full: bool, extended: bool,
    repro: Path | None, sanitize: bool, settings: Settings, out: Path | None,
) -> int:  # fmt: skip
    """Check a candidate over a matrix of cases; one failure is shrunk, shown, and kept for --repro.

    Exit codes: 0 all passed; 1 something failed; 2 no such candidate; 3 it failed to build, crashed or hung.
    """
    from gate import fuzzing, sanitizer
    from gate.device import choose_device
    from gate.registry import find
    from gate.tables import correctness_table, sanitizer_table

    again = fuzzing.load_failure(repro) if repro else None
    if again is not None:
        impl, config, device = again.impl, again.config, again.device
    if impl is None:
        raise click.UsageError("Missing option '--impl'.")
    candidate = find(impl, kernels, config)
    chosen = choose_device(device, candidate.devices)
    dtypes = options.dtypes(dtype, chosen)
    cases = fuzzing.choose_cases(settings.fuzz, chosen, dtypes, full=full, extended=extended)
    options.check_writable(out)
    program = sanitizer.find_sanitizer(chosen) if sanitize else ""
    with options.bench(chosen, settings) as bench:
        if sanitize:
            found = sanitizer.sanitize(bench, candidate, dtypes[0], program)
        else:
            report = fuzzing.repeat(bench, candidate, again) if again else fuzzing.fuzz(bench, candidate, cases)
    if sanitize:
        options.deliver(found, out, sanitizer_table)
        return found.exit_code
    options.deliver(report, out, correctness_table)
    if report.failure is not None and again is None:
        kept = fuzzing.keep(report.failure, out)
        click.echo(f"written: {kept}; `kernel-gate fuzz --kernels {kernels} --repro {kept}` plays this failure again")
    return report.exit_code


if __name__ == "__main__":
    cli.run(command)
