"""Correctness over a matrix of cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import cli, options

if TYPE_CHECKING:
    from gate.records import Dtype
    from gate.registry import Candidate
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
    from gate import fuzzing
    from gate.capacity import refuse_impossible
    from gate.device import choose_device
    from gate.registry import find
    from gate.tables import correctness_table

    again = fuzzing.load_failure(repro) if repro else None
    if again is not None:
        impl, config, device = again.impl, again.config, again.device
    if impl is None:
        raise click.UsageError("Missing option '--impl'.")
    candidate = options.runnable(find(impl, kernels, config))
    chosen = choose_device(device, candidate.devices)
    dtypes = options.dtypes(dtype, chosen)
    options.check_writable(out)
    if sanitize:
        return _sanitize(candidate, chosen, dtypes[0], settings, out)
    cases = fuzzing.choose_cases(settings.fuzz, chosen, dtypes, full=full, extended=extended)
    asked = [again.shrunk.case] if again else cases
    refuse_impossible((each.workload for each in asked), chosen, settings.limits, checked=True)
    with options.bench(chosen, settings) as bench:
        report = fuzzing.repeat(bench, candidate, again) if again else fuzzing.fuzz(bench, candidate, cases)
    options.deliver(report, out, correctness_table)
    if report.failure is not None and again is None:
        kept = fuzzing.keep(report.failure, out)
        cli.say(f"written: {kept}; `kernel-gate fuzz --kernels {kernels} --repro {kept}` plays this failure again")
    return report.exit_code


def _sanitize(candidate: Candidate, device: str, dtype: Dtype, settings: Settings, out: Path | None) -> int:
    from gate import sanitizer
    from gate.tables import sanitizer_table

    program = sanitizer.find_sanitizer(device)
    with options.bench(device, settings) as bench:
        found = sanitizer.sanitize(bench, candidate, dtype, program)
    options.deliver(found, out, sanitizer_table)
    return found.exit_code


if __name__ == "__main__":
    cli.run(command)
