"""What a candidate's process may be asked to do. Each job takes JSON and answers with one record's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gate.check import check
from gate.compiling import compile_library
from gate.device import open_device
from gate.environment import describe
from gate.files import from_json, to_json
from gate.implementations import CandidateError, open_implementation
from gate.messages import Attempt, CheckRequest, Compilation, EnvironmentRequest, Plan
from gate.records import Correctness
from gate.replicate import run_replicate


def run(job: Mapping[str, Any]) -> str:
    """The answer to `{"kind": ..., "request": ...}`."""
    kind: str = job["kind"]
    return JOBS[kind](job["request"])


def _check(request: str) -> str:
    asked = from_json(CheckRequest, request, "a check's request")
    try:
        implementation = open_implementation(asked.impl, asked.candidate)
        device = open_device(asked.device)
        return to_json(check(device, implementation, asked.workload, asked.tolerance, asked.seed))
    except CandidateError as error:
        return to_json(Correctness(error.status, str(error)))


def _replicate(request: str) -> str:
    plan = from_json(Plan, request, "a replicate's request")
    try:
        return to_json(run_replicate(plan, open_device(plan.device)))
    except CandidateError as error:
        return to_json(Attempt(error.status, str(error)))


def _compile(request: str) -> str:
    return to_json(compile_library(from_json(Compilation, request, "a build's request")))


def _environment(request: str) -> str:
    asked = from_json(EnvironmentRequest, request, "a request for the environment")
    return to_json(describe(open_device(asked.device)))


JOBS: Mapping[str, Callable[[str], str]] = {
    "check": _check,
    "compile": _compile,
    "environment": _environment,
    "replicate": _replicate,
}
