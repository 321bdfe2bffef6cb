"""What a candidate's process may be asked to do. Each job takes JSON and answers with one record's JSON."""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gate import files, watching
from gate.check import check
from gate.compiling import compile_library
from gate.device import Device, open_device
from gate.environment import describe
from gate.execution import Execution
from gate.files import from_json, to_json
from gate.implementations import CandidateError, open_implementation
from gate.messages import (
    Attempt,
    Called,
    CheckRequest,
    Compilation,
    Compiled,
    EnvironmentRequest,
    Plan,
    TraceRequest,
    Traces,
    Watching,
)
from gate.records import Check, Correctness, Environment, Status, Trace
from gate.replicate import run_replicate
from gate.tracing import trace
from gate.witness.messages import Played, Playing, Refereeing


def prepare() -> None:
    """Once, in the fork server, what every job would otherwise import and make for itself."""
    import gate.device.cpu
    import gate.witness.player
    import gate.witness.referee  # noqa: F401  # before any candidate could change the files

    files.prepare(
        Attempt, Called, CheckRequest, Compilation, Compiled, Correctness, Environment, Plan, TraceRequest, Traces
    )
    gc.collect()
    gc.freeze()  # a collection in a fork looks at its own objects alone: 0.1 ms instead of 77


def run(job: Mapping[str, Any]) -> str:
    """The answers to `{"kind": ..., "requests": [...]}`, one each, as a JSON list of JSON texts."""
    answer = JOBS[job["kind"]]
    return json.dumps([answer(request) for request in job["requests"]])


def _check(request: str) -> str:
    asked = from_json(CheckRequest, request, "a check's request")
    try:
        device = open_device(asked.device)
        implementation = open_implementation(asked.impl, asked.candidate)
        return to_json(check(device, implementation, asked.case, asked.tolerance, asked.seed, asked.budget_s))
    except (CandidateError, RuntimeError) as error:
        status, message = _failure(error)
        checks = (Check("output", False, message),) if status is Status.INCORRECT else ()
        return to_json(Correctness(status, message, checks))


def _call(request: str) -> str:
    asked = from_json(CheckRequest, request, "a request for a first call")
    try:
        device, case = open_device(asked.device), asked.case
        implementation = open_implementation(asked.impl, asked.candidate)
        execution = Execution(device, implementation, case.workload, random.Random(asked.seed), layout=case.layout)
        execution.refresh(asked.seed, case.distribution)
        execution.run()
    except (CandidateError, RuntimeError) as error:
        return to_json(Called(*_failure(error)))
    return to_json(Called(Status.OK))


def _replicate(request: str) -> str:
    plan = from_json(Plan, request, "a replicate's request")
    try:
        return to_json(run_replicate(plan, open_device(plan.device)))
    except (CandidateError, RuntimeError) as error:
        return to_json(Attempt(*_failure(error)))


def _failure(error: Exception) -> tuple[Status, str]:
    """How a candidate failed, by its own word or by the device's. Raises what neither would say."""
    if isinstance(error, CandidateError):
        return error.status, str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return Status.OUT_OF_MEMORY, str(error).partition(". ")[0]
    if "CUDA" in str(error):
        return Status.CRASHED, str(error).partition("\n")[0]
    raise error


def _trace(request: str) -> str:
    asked = from_json(TraceRequest, request, "a request for traces")
    device = open_device(asked.device)
    return to_json(Traces(tuple(_trace_one(device, asked, name) for name in asked.implementations)))


def _trace_one(device: Device, asked: TraceRequest, name: str) -> Trace:
    try:
        return trace(device, name, open_implementation(name, asked.candidate), asked.workload)
    except (CandidateError, RuntimeError) as error:
        return Trace(name, refusal=str(error).partition("\n")[0] or type(error).__name__)


def _referee(request: str) -> str:
    from gate.witness.referee import referee

    asked = from_json(Refereeing, request, "a referee's request")
    return to_json(referee(asked))


def _play(request: str) -> str:
    from gate.witness.player import play

    asked = from_json(Playing, request, "a player's request")
    try:
        return to_json(play(asked))
    except (CandidateError, RuntimeError) as error:
        return to_json(Played(*_failure(error)))


def _compile(request: str) -> str:
    return to_json(compile_library(from_json(Compilation, request, "a build's request")))


def _environment(request: str) -> str:
    asked = from_json(EnvironmentRequest, request, "a request for the environment")
    return to_json(describe(open_device(asked.device)))


def _watch(request: str) -> str:
    return to_json(watching.run(from_json(Watching, request, "a request to watch")))


JOBS: Mapping[str, Callable[[str], str]] = {
    "call": _call,
    "check": _check,
    "compile": _compile,
    "environment": _environment,
    "play": _play,
    "referee": _referee,
    "replicate": _replicate,
    "trace": _trace,
    watching.JOB: _watch,
}
