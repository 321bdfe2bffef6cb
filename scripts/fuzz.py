"""Checks correctness over a matrix of cases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from . import cli, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gate.candidates.registry import Candidate
    from gate.check.fuzz import FuzzFailure
    from gate.records import Case, Dtype
    from gate.settings.model import Settings

DEVICES = ("cuda", "cpu")


@click.command("fuzz")
@options.fuzzing
@options.settings
@options.out_file
def command(
    impl: str | None, backend: str | None, kernels: Path, config: str | None, dtype: Dtype | None, device: str,
    full: bool, extended: bool, repro: Path | None, sanitize: bool, settings: Settings, out: Path | None,
) -> int:  # fmt: skip
    """Check a candidate over a matrix of cases; one failure is reduced, shown, and saved for --repro.

    Without a candidate it checks an SDPA backend, which shows whether this environment computes correctly.

    Exit codes: 0 all passed; 1 something failed; 2 no such candidate; 3 it failed to build, crashed or hung; 69 SDPA
    itself is incorrect here.
    """
    from gate.candidates.registry import find_candidate
    from gate.check import fuzz as check_fuzz
    from gate.runtime.device import choose_device

    typed = click.get_current_context().get_parameter_source("impl") is ParameterSource.COMMANDLINE
    if (backend or repro) and not typed:
        impl = None  # an option on the command line overrides the environment variable IMPL
    if (repro and (full or extended or sanitize or dtype or backend)) or (backend and (impl or sanitize)):
        raise click.UsageError(
            "--repro repeats one case, and --backend checks SDPA: remove the options that contradict them."
        )
    if sanitize and impl is None:
        raise click.UsageError("Missing option '--impl': --sanitize needs a candidate.")
    options.check_writable(out)
    if repro is not None:
        return _again(check_fuzz.load_failure(repro), impl, kernels, config, settings, out)
    candidate = options.runnable(find_candidate(impl, kernels, config)) if impl else None
    chosen = choose_device(device, candidate.devices if candidate else DEVICES)
    dtypes = options.dtypes(dtype, chosen)
    cases = check_fuzz.choose_cases(settings.fuzz, chosen, dtypes, full=full, extended=extended)
    if candidate is None:
        return _backend(backend or "flash", chosen, cases, settings, out)
    if sanitize:
        return _sanitize(candidate, chosen, dtypes[0], settings, out)
    return _matrix(candidate, chosen, cases, kernels, settings, out)


def _matrix(
    candidate: Candidate, device: str, cases: Sequence[Case], kernels: Path, settings: Settings, out: Path | None
) -> int:
    from gate.check import fuzz as check_fuzz
    from gate.report.checks import correctness_table

    _refuse_impossible(cases, device, settings)
    with options.session(device, settings) as session:
        report = check_fuzz.fuzz(session, candidate, cases)
    options.deliver(report, out, correctness_table)
    if report.failure is not None:
        kept = check_fuzz.save_failure(report.failure, out)
        cli.say(f"written: {kept}; `kernel-gate fuzz --kernels {kernels} --repro {kept}` repeats this failure")
    return report.exit_code


def _again(
    failure: FuzzFailure, impl: str | None, kernels: Path, config: str | None, settings: Settings, out: Path | None
) -> int:
    """Repeats a failure, with the candidate that failed or with the named one."""
    from gate.candidates.registry import find_candidate
    from gate.check import fuzz as check_fuzz
    from gate.report.checks import correctness_table
    from gate.runtime.device import choose_device

    same = impl in (None, failure.impl)
    candidate = options.runnable(
        find_candidate(impl or failure.impl, kernels, config or (failure.config if same else None))
    )
    device = choose_device(failure.device, candidate.devices)
    _refuse_impossible([failure.shrunk.case], device, settings)
    with options.session(device, settings) as session:
        report = check_fuzz.replay_failure(session, candidate, failure)
    options.deliver(report, out, correctness_table)
    return report.exit_code


def _backend(backend: str, device: str, cases: Sequence[Case], settings: Settings, out: Path | None) -> int:
    """Checks SDPA itself; an error there is a fault of the environment."""
    from gate.check import fuzz as check_fuzz
    from gate.records import EXIT_CODES, Outcome
    from gate.records.sdpa import backends_of
    from gate.report.checks import correctness_table

    (backend,) = backends_of(device, backend)[:1]
    _refuse_impossible(cases, device, settings)
    with options.session(device, settings) as session:
        report = check_fuzz.fuzz_backend(session, backend, cases)
    options.deliver(report, out, correctness_table)
    right = report.exit_code == 0
    cli.say(
        f"sdpa:{backend} is {'correct in this environment' if right else 'incorrect in this environment: no verdict'}"
        f"{'' if right else ' here can be trusted; `kernel-gate doctor` shows what is installed'}"
    )
    return 0 if right else EXIT_CODES[Outcome.ENVIRONMENT]


def _refuse_impossible(cases: Sequence[Case], device: str, settings: Settings) -> None:
    from gate.machine.capacity import require_enough_memory

    require_enough_memory((case.workload for case in cases), device, settings.limits, checked=True)


def _sanitize(candidate: Candidate, device: str, dtype: Dtype, settings: Settings, out: Path | None) -> int:
    from gate.check import sanitizer
    from gate.report.checks import sanitizer_table

    program = sanitizer.find_sanitizer(device)
    with options.session(device, settings) as session:
        found = sanitizer.sanitize(session, candidate, dtype, program)
    options.deliver(found, out, sanitizer_table)
    return found.exit_code


if __name__ == "__main__":
    cli.run(command)
