"""Writes a job's summary, its outputs, and annotations at the candidate's files."""

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
"""In characters. GitHub drops a step's summary above 1 MiB, and a character has up to 4 bytes."""


def write_job_summary(run: Run, out: Path | None) -> None:
    """Writes annotations to standard output, the job's summary, and the outputs `outcome` and `run`."""
    for line in annotate(run):
        click.echo(line)
    append(markdown(run, most=MAX_SUMMARY_BYTES))
    outputs({"outcome": run.verdict.outcome.value, "run": str(out or "")})


def report_delivery(delivery: Delivery, text: str = "") -> None:
    """Reports a comment's delivery: printed, as outputs `done` and `url`, and after `text` in the summary."""
    status = f"{delivery.done}: {delivery.reason} {delivery.url}".rstrip()
    click.echo(status)
    outputs({"done": delivery.done, "url": delivery.url})
    append(f"{text}\nComment {status}\n")


def append(text: str) -> bool:
    """Appends to the job's summary (GITHUB_STEP_SUMMARY); returns False outside of GitHub Actions."""
    return _append("GITHUB_STEP_SUMMARY", f"{text}\n")


def outputs(values: Mapping[str, str]) -> bool:
    """Sets the step's outputs (GITHUB_OUTPUT). Raises BadInputError for a value of more than one line."""
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
        raise UnwritableOutputError(
            f"cannot write {path} ({variable}): {error.strerror}; make that file writable for the job"
        ) from error
    return True
