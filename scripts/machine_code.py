"""Shows a candidate's machine code, without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import cli, options

if TYPE_CHECKING:
    from gate.settings.model import Settings


@click.command("machine-code")
@options.impl
@options.kernels
@options.config
@click.option("--against", type=click.Path(path_type=Path), help="The folder of candidates to compare with.")
@click.option("--against-config", metavar="NAME=VALUE,...", help="The tunables to compare with; default: --config's.")
@options.arch
@options.settings
@options.out_file
def command(
    impl: str, kernels: Path, config: str | None, against: Path | None, against_config: str | None,
    asked: tuple[str, ...], settings: Settings, out: Path | None,
) -> int:  # fmt: skip
    """Count a candidate's instructions, or compare them with another version. Needs no GPU.

    Exit codes: 0 done; 3 a version does not build; 69 no compiler or no disassembler.
    """
    from gate.analysis.code_difference import compare_builds
    from gate.build.machine_code import inspect, with_machine_code
    from gate.candidates.registry import find_candidate
    from gate.report.machine_code import difference_text, static_text

    options.check_writable(out)
    alone = against is None and against_config is None
    candidate = with_machine_code(find_candidate(impl, kernels, config))
    before = candidate if alone else find_candidate(impl, against or kernels, against_config or config)
    new = inspect(options.built(candidate, asked, settings))
    if alone:
        options.deliver(new, out, static_text)
    else:
        old = inspect(options.built(before, asked, settings))
        options.deliver(compare_builds(old, new), out, difference_text)
    return 0


if __name__ == "__main__":
    cli.run(command)
