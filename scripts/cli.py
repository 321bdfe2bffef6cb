"""The command `kernel-gate`: imports a command's module only to run it, and converts errors to exit codes."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

import gate
from gate.errors import GateError, UnfitEnvironmentError, explain_machine

from . import extras, streams

USAGE, UNFIT, FAULT = 64, 69, 70
COMMANDS = {
    "run": "Build, check, time and judge one candidate: the whole pipeline.",
    "measure-sdpa": "Time SDPA's backends against each other.",
    "measure-candidate": "Build, check and time a candidate against SDPA.",
    "gate": "Judge a measurement from its raw samples; needs no GPU and no torch.",
    "baseline": "Record SDPA's times on this machine, or check a record.",
    "comment": "Write the verdict to the pull request and to the job's summary.",
    "withdraw": "Withdraw the comments on earlier commits of the pull request.",
    "compare": "Compare a measurement with a recorded one: regressed, maintained, improved or undecided.",
    "convert": "Rewrite recorded files of schema version 1 as version 2.",
    "plan": "Plan from a GitHub event what to measure, and on which runner.",
    "required": "Check that every required job ran and passed.",
    "fit": "Check whether a run's machine is fit to judge.",
    "calibrate": "Replay the decision rules over recorded trials: false alarms, coverage, power.",
    "fuzz": "Check a candidate over a matrix of workloads.",
    "build": "Build a candidate.",
    "candidates": "List the candidates.",
    "profile": "Read hardware counters, and explain what limits a kernel's speed.",
    "machine-code": "Count a candidate's instructions, or compare two versions; needs no GPU.",
    "score": "Print the score of a measured candidate, term by term.",
    "doctor": "Show what this machine can and cannot do, and how to fix it.",
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
        return command if name in extras.OPTIONAL else _with_extras(command, extras.NEEDS.get(name, ()))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _with_extras(command: click.Command, needed: Sequence[str]) -> click.Command:
    """A copy that says what is not installed before it does anything; its --help needs nothing."""
    inner = command.callback
    if inner is None or not needed:
        return command

    @functools.wraps(inner)
    def checked(**given: Any) -> Any:
        extras.require(*needed)
        return inner(**given)

    made = copy.copy(command)
    made.callback = checked
    return made


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "KERNEL_GATE"}
)
@click.version_option(gate.__version__, prog_name="kernel-gate")
def kernel_gate() -> None:
    """Decide whether an attention kernel is correct, and faster than PyTorch's SDPA beyond doubt.

    Exit codes: 0 pass; 1 rejected; 2 undecided, or no such candidate; 3 the candidate failed to build, crashed, hung
    or ran out of memory; 64 usage; 69 this machine is unfit; 70 a fault of Kernel Gate itself.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of `kernel-gate`."""
    run(kernel_gate, arguments)


def run(command: click.Command, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command and exits with a documented code; expected errors print no traceback."""
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
    """Raises UnfitEnvironmentError if the working folder was removed: relative paths cannot be resolved then."""
    try:
        Path.cwd()
    except OSError as error:
        raise UnfitEnvironmentError(
            f"the working folder cannot be used ({error.strerror}); cd to a folder that exists"
        ) from error


def _leave_for(error: Exception) -> NoReturn:
    """Exits with 69 for an error of the operating system, otherwise with 70."""
    machine = explain_machine(error) if isinstance(error, OSError) else None
    if machine is not None:
        _leave(UNFIT, machine)
    with contextlib.suppress(OSError):
        say(traceback.format_exc(), err=True)
    _leave(FAULT, "internal error of Kernel Gate; report it with the lines above")


def say(text: str, *, err: bool = False) -> None:
    """Prints text that may come from a candidate; GitHub's runner finds no workflow command in it."""
    from gate.text import inert

    click.echo(inert(text), err=err)


def _leave(code: int, message: str) -> NoReturn:
    """Prints the message as one line and exits."""
    with contextlib.suppress(OSError):  # standard error may be what is full
        say(f"kernel-gate: {' '.join(message.split())}", err=True)
    streams.forget()
    sys.exit(code)


if __name__ == "__main__":
    main()
