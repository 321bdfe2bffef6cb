"""What a candidate's process may be asked to do. Each job takes JSON and answers with one record's JSON."""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gate.build.compile import compile_library
from gate.check.check import check
from gate.machine.environment import describe
from gate.measure.replicate import run_replicate
from gate.profiling.torch_trace import trace_call
from gate.records import Check, Correctness, Environment, Status, Trace, codec
from gate.records.codec import from_json, to_json
from gate.runtime.device import Device, open_device
from gate.runtime.execution import Execution
from gate.runtime.implementations import CandidateError, open_implementation
from gate.sandbox import external_tool, server
from gate.sandbox.protocol import (
    Called,
    CheckRequest,
    CompileAnswer,
    CompileRequest,
    EnvironmentRequest,
    ReplicateAnswer,
    ReplicateRequest,
    ToolRequest,
    TraceAnswer,
    TraceRequest,
)
from gate.witness.protocol import CandidateSideAnswer, CandidateSideRequest, TrustedSideRequest


def prepare() -> None:
    """Once, in the fork server, what every job would otherwise import and make for itself."""
    import gate.runtime.device.cpu
    import gate.witness.candidate_side
    import gate.witness.trusted_side  # noqa: F401  # before any candidate could change the files

    codec.prepare_codecs(
        ReplicateAnswer,
        Called,
        CheckRequest,
        CompileRequest,
        CompileAnswer,
        Correctness,
        Environment,
        ReplicateRequest,
        TraceRequest,
        TraceAnswer,
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
    plan = from_json(ReplicateRequest, request, "a replicate's request")
    try:
        return to_json(run_replicate(plan, open_device(plan.device)))
    except (CandidateError, RuntimeError) as error:
        return to_json(ReplicateAnswer(*_failure(error)))


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
    return to_json(TraceAnswer(tuple(_trace_one(device, asked, name) for name in asked.implementations)))


def _trace_one(device: Device, asked: TraceRequest, name: str) -> Trace:
    try:
        return trace_call(device, name, open_implementation(name, asked.candidate), asked.workload)
    except (CandidateError, RuntimeError) as error:
        return Trace(name, refusal=str(error).partition("\n")[0] or type(error).__name__)


def _trusted_side(request: str) -> str:
    from gate.witness.trusted_side import run_trusted_side

    asked = from_json(TrustedSideRequest, request, "a trusted side's request")
    return to_json(run_trusted_side(asked))


def _candidate_side(request: str) -> str:
    from gate.witness.candidate_side import run_candidate_side

    asked = from_json(CandidateSideRequest, request, "a candidate's side's request")
    try:
        return to_json(run_candidate_side(asked))
    except (CandidateError, RuntimeError) as error:
        return to_json(CandidateSideAnswer(*_failure(error)))


def _compile(request: str) -> str:
    return to_json(compile_library(from_json(CompileRequest, request, "a build's request")))


def _environment(request: str) -> str:
    asked = from_json(EnvironmentRequest, request, "a request for the environment")
    device = open_device(asked.device)
    return to_json(describe(device.kind, device.name))


def _tool(request: str) -> str:
    return to_json(external_tool.execute(from_json(ToolRequest, request, "a request to watch")))


JOBS: Mapping[str, Callable[[str], str]] = {
    "call": _call,
    "check": _check,
    "compile": _compile,
    "environment": _environment,
    "play": _candidate_side,
    "referee": _trusted_side,
    "replicate": _replicate,
    "trace": _trace,
    external_tool.JOB: _tool,
}


def main() -> None:
    """Serves these jobs until the other side hangs up."""
    server.main(server.Jobs(prepare, run))
