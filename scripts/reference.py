"""Prints docs/cli.md from the commands' own help; `make reference` writes the page."""

from __future__ import annotations

from collections.abc import Iterator

import click

from .cli import COMMANDS, kernel_gate

INTRODUCTION = """\
# The command line

`kernel-gate NAME --help` prints the same as this page. In a checkout, `python -m scripts.NAME` (with `_` for `-`)
runs the same command. The defaults of all numbers are in [gate.toml](../gate.toml). An environment variable can
replace an option: `KERNEL_GATE_RUN_DEVICE=cpu` means `run --device cpu`.

| exit code | meaning |
|---|---|
| 0 | pass |
| 1 | rejected: incorrect, too slow, or slower than before |
| 2 | undecided: too little evidence, an unfit machine, or no such candidate |
| 3 | the candidate failed to build, crashed, hung or ran out of memory |
| 64 | usage: a wrong option, or a file that cannot be read |
| 69 | this machine is unfit: no compiler, no such device, no space |
| 70 | a fault of Kernel Gate itself: please report it |
| 130 | interrupted by Ctrl-C; nothing was written |

`run.json` is the evidence of a run. It holds every raw sample in the order taken, and follows the
[JSON Schema](schema); null means not measured, or not recorded. Loading it judges the samples again,
and refuses a file that contradicts them. A file of schema version 1 is refused until
`kernel-gate convert FILE...` has rewritten it in place.

    kernel-gate run --impl cpu_tiled --shape 1,8,512,64 --out artifacts
    kernel-gate gate --cand artifacts/run.json        # the same verdict, from the samples

<!-- `make reference` prints this page; a test compares. -->
"""


def page() -> str:
    """The whole of docs/cli.md."""
    group = click.Context(kernel_gate, info_name="kernel-gate", **kernel_gate.context_settings)
    return "\n".join([INTRODUCTION, *(_section(group, name) for name in COMMANDS)])


def _section(group: click.Context, name: str) -> str:
    command = kernel_gate.get_command(group, name)
    if command is None:
        raise KeyError(name)
    paragraphs = (" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))
    options = "\n".join(_options(command, click.Context(command, group, name)))
    return "\n\n".join([f"## {name}", *paragraphs, f"| option | meaning |\n|---|---|\n{options}\n"])


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            option, meaning = (cell.replace("|", "\\|") for cell in record)
            yield f"| `{option}` | {meaning} |"


def main() -> None:
    """Print the page."""
    click.echo(page(), nl=False)


if __name__ == "__main__":
    main()
