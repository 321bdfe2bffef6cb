"""What a job says of itself: its summary, its outputs, and annotations beside the candidate's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from gate.errors import BadInputError, UnwritableOutputError
from gate.github.annotations import annotate
from gate.github.sticky import Delivery
from gate.records import Run
from gate.report.markdown import markdown

MAX_SUMMARY_BYTES = 250_000
"""Characters: GitHub drops a step's summary beyond 1 MiB, and a character has up to 4 bytes."""


def tell_job(run: Run, out: Path | None) -> None:
    """Annotations on standard output, the summary, and the outputs `outcome` and `run`."""
    for line in annotate(run):
        click.echo(line)
    append(markdown(run, most=MAX_SUMMARY_BYTES))
    outputs({"outcome": run.verdict.outcome.value, "run": str(out or "")})


def tell_delivery(delivery: Delivery, text: str = "") -> None:
    """What became of a comment: printed, as the outputs `done` and `url`, and after `text` in the summary."""
    said = f"{delivery.done}: {delivery.said} {delivery.url}".rstrip()
    click.echo(said)
    outputs({"done": delivery.done, "url": delivery.url})
    append(f"{text}\nComment {said}\n")


def append(text: str) -> bool:
    """Adds to the job's summary, where there is one (GITHUB_STEP_SUMMARY); returns whether there is."""
    return _append("GITHUB_STEP_SUMMARY", f"{text}\n")


def outputs(values: Mapping[str, str]) -> bool:
    """Sets the step's outputs, where there are such (GITHUB_OUTPUT). Raises BadInputError for more than one line."""
    for name, value in values.items():
        if len(value.splitlines()) > 1:
            raise BadInputError(f"the output {name} has more than one line; name a plain path")
    return _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in values.items()))


def _append(variable: str, text: str) -> bool:
    path = os.environ.get(variable)
    if not path:
        return False
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UnwritableOutputError(f"cannot write {path} ({variable}): {error.strerror}; mend the job") from error
    return True
