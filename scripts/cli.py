"""The command `kernel-gate`: finds each command's module when it is asked for, and turns errors into exit codes."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from gate.errors import GateError, UnfitEnvironmentError, explain_machine

from . import streams

USAGE, UNFIT, FAULT = 64, 69, 70
COMMANDS = {
    "run": "Build, check, time and judge one candidate: the whole pipeline.",
    "measure-sdpa": "Time SDPA's backends against one another.",
    "measure-candidate": "Build, check and time a candidate against SDPA.",
    "gate": "Judge from raw samples; no GPU and no torch needed.",
    "baseline": "Record what SDPA takes on this machine, or check a record against it.",
    "comment": "Say the verdict on the pull request, and in the job's summary.",
    "withdraw": "Take back what was said of earlier commits of the pull request.",
    "compare": "Compare a measurement with a recorded one: regressed, maintained, improved or undecided.",
    "convert": "Rewrite recorded files of schema version 1 as version 2.",
    "plan": "Read off a GitHub event what is to be measured, and where.",
    "required": "Say whether every job that had to happen did, and passed.",
    "fit": "Say whether a run shows its machine fit to judge.",
    "calibrate": "Replay the decision rules over recorded trials: false alarms, coverage, power.",
    "fuzz": "Check a candidate over a matrix of workloads.",
    "build": "Build a candidate.",
    "candidates": "List the candidates.",
    "profile": "Read hardware counters: what bounds a kernel, and why.",
    "machine-code": "Count a candidate's instructions, or what changed in them; needs no GPU.",
    "score": "Print the fitness of a measured candidate, term by term.",
    "doctor": "Say what this machine can and cannot do, and how to fix it.",
}


class Commands(click.Group):
    """The group; a command's module is imported only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "KERNEL_GATE"}
)
@click.version_option(package_name="kernel-gate")
def kernel_gate() -> None:
    """Decide whether an attention kernel is correct, and faster than PyTorch's SDPA beyond doubt.

    Exit codes: 0 pass; 1 rejected; 2 undecided, or no such candidate; 3 the candidate failed to build, crashed, hung
    or ran out of memory; 64 usage; 69 this machine is unfit; 70 a fault of Kernel Gate itself.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of `kernel-gate`."""
    run(kernel_gate, arguments)


def run(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and ends the process with a documented exit code; no traceback for what was expected."""
    streams.settle()
    try:
        _need_working_folder()
        code: Any = command.main(arguments, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(USAGE)
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "kernel-gate"
        _leave(USAGE, f"{error.format_message()} See `{where} --help`.")
    except GateError as error:
        _leave(error.exit_code, str(error))
    except (click.Abort, KeyboardInterrupt):
        _leave(130, "interrupted; nothing was written")
    except Exception as error:
        _leave_for(error)


def _need_working_folder() -> None:
    """Raises UnfitEnvironmentError where it was removed: no relative path means anything then."""
    try:
        Path.cwd()
    except OSError as error:
        raise UnfitEnvironmentError(
            f"the working folder cannot be used ({error.strerror}); cd to a folder that exists"
        ) from error


def _leave_for(error: Exception) -> NoReturn:
    """A fault of the machine, where the operating system says so; else one of Kernel Gate's own."""
    machine = explain_machine(error) if isinstance(error, OSError) else None
    if machine is not None:
        _leave(UNFIT, machine)
    with contextlib.suppress(OSError):
        say(traceback.format_exc(), err=True)
    _leave(FAULT, "this is a fault of Kernel Gate itself; report it with the lines above")


def say(text: str, *, err: bool = False) -> None:
    """Prints what may hold a candidate's words, so that none of them is a command to GitHub."""
    from gate.text import inert

    click.echo(inert(text), err=err)


def _leave(code: int, message: str) -> NoReturn:
    """One line, whatever a file or an option put into the message."""
    with contextlib.suppress(OSError):  # standard error may be what is full
        say(f"kernel-gate: {' '.join(message.split())}", err=True)
    streams.forget()
    sys.exit(code)


if __name__ == "__main__":
    main()
