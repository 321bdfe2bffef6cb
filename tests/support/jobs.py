"""Jobs that run Python code as a candidate's, and ends of jobs as the fork server reports them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from gate.records import Case, Record
from gate.records.codec import records_to_json
from gate.sandbox.job import Exit, JobKind
from gate.sandbox.protocol import CHECK, CheckRequest
from gate.settings.model import Tolerance
from tests.support import examples


def check_request(source: Path | str, name: str = "mine") -> CheckRequest:
    """A request to check the candidate in this file on the smallest workload."""
    return CheckRequest("cpu", Case(examples.workload()), name, str(source), Tolerance(1e-5, 1e-5), 1)


def python_job(folder: Path, code: str) -> tuple[JobKind[Any, Any], list[CheckRequest]]:
    """A job that runs this Python code, which is what a candidate's file holds."""
    source = folder / "kernel.py"
    source.write_text(code)
    return CHECK, [check_request(source)]


def ended(reply: bytes = b"", **changes: Any) -> Exit:
    """The end of a job that exited with code 0 after a tenth of a second, but for `changes`."""
    return replace(Exit(reply, 0, None, 0.1, 0, ""), **changes)


def answering(*answers: Record) -> Exit:
    """The end of a job that gave these answers."""
    return ended(records_to_json(type(answers[0]), answers))


def answers_in(ending: Exit) -> list[dict[str, Any]]:
    """The answers that a job gave, as JSON has them."""
    answers: list[dict[str, Any]] = json.loads(ending.reply)
    return answers
