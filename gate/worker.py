"""The jobs that a fork server runs: each answers a request record with an answer record."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch

from gate.build.compile import compile_library
from gate.check.check import check
from gate.machine.environment import describe
from gate.measure.replicate import run_replicate
from gate.profiling.torch_trace import trace_call
from gate.records import Check, Correctness, Environment, Record, Status, Trace, codec
from gate.records.codec import records_from_json, records_to_json
from gate.runtime.device import Device, open_device
from gate.runtime.execution import Execution
from gate.runtime.implementations import CandidateError, open_implementation
from gate.sandbox import external_tool, server
from gate.sandbox.job import JobKind
from gate.sandbox.protocol import (
    CHECK,
    COMPILE,
    ENVIRONMENT,
    FIRST_CALL,
    REPLICATE,
    TOOL,
    TRACE,
    Called,
    CheckRequest,
    CompileAnswer,
    CompileRequest,
    EnvironmentRequest,
    ReplicateAnswer,
    ReplicateRequest,
    TraceAnswer,
    TraceRequest,
)
from gate.witness.protocol import (
    CANDIDATE_SIDE,
    TRUSTED_SIDE,
    CandidateSideAnswer,
    CandidateSideRequest,
    TrustedSideAnswer,
    TrustedSideRequest,
)


def prepare() -> None:
    """Imports and makes once, in the fork server, what every job would otherwise import and make for itself."""
    import gate.runtime.device.cpu
    import gate.witness.candidate_side
    import gate.witness.trusted_side  # noqa: F401  # before any candidate could change the files

    for kind, _ in JOBS.values():
        codec.prepare_codecs(kind.request, kind.answer)
    gc.collect()
    gc.freeze()  # a collection in a fork looks at its own objects alone: 0.1 ms instead of 77


def run(kind: str, requests: bytes) -> bytes:
    """The answers to a JSON list of requests, one each and in order, as a JSON list."""
    job, answer = JOBS[kind]
    records = records_from_json(job.request, requests, f"a request of kind '{kind}'")
    return records_to_json(job.answer, [answer(record) for record in records])


def _check(request: CheckRequest) -> Correctness:
    try:
        device = open_device(request.device)
        implementation = open_implementation(request.impl, request.candidate)
        return check(device, implementation, request.case, request.tolerance, request.seed, request.budget_s)
    except (CandidateError, RuntimeError) as error:
        status, message = _failure(error)
        checks = (Check("output", False, message),) if status is Status.INCORRECT else ()
        return Correctness(status, message, checks)


def _call_first(request: CheckRequest) -> Called:
    try:
        device, case = open_device(request.device), request.case
        implementation = open_implementation(request.impl, request.candidate)
        execution = Execution(device, implementation, case.workload, random.Random(request.seed), layout=case.layout)
        execution.refresh(request.seed, case.distribution)
        execution.run()
    except (CandidateError, RuntimeError) as error:
        return Called(*_failure(error))
    return Called(Status.OK)


def _replicate(plan: ReplicateRequest) -> ReplicateAnswer:
    try:
        return run_replicate(plan, open_device(plan.device))
    except (CandidateError, RuntimeError) as error:
        return ReplicateAnswer(*_failure(error))


def _failure(error: Exception) -> tuple[Status, str]:
    """The status and message of a candidate's or a device's error. Raises any other error again."""
    if isinstance(error, CandidateError):
        return error.status, str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return Status.OUT_OF_MEMORY, str(error).partition(". ")[0]
    if "CUDA" in str(error):
        return Status.CRASHED, str(error).partition("\n")[0]
    raise error


def _trace(request: TraceRequest) -> TraceAnswer:
    device = open_device(request.device)
    return TraceAnswer(tuple(_trace_one(device, request, name) for name in request.implementations))


def _trace_one(device: Device, request: TraceRequest, name: str) -> Trace:
    try:
        return trace_call(device, name, open_implementation(name, request.candidate), request.workload)
    except (CandidateError, RuntimeError) as error:
        return Trace(name, refusal=str(error).partition("\n")[0] or type(error).__name__)


def _trusted_side(request: TrustedSideRequest) -> TrustedSideAnswer:
    from gate.witness.trusted_side import run_trusted_side

    return run_trusted_side(request)


def _candidate_side(request: CandidateSideRequest) -> CandidateSideAnswer:
    from gate.witness.candidate_side import run_candidate_side

    try:
        return run_candidate_side(request)
    except (CandidateError, RuntimeError) as error:
        return CandidateSideAnswer(*_failure(error))


def _compile(request: CompileRequest) -> CompileAnswer:
    started = perf_counter()
    return replace(compile_library(request), seconds=perf_counter() - started)


def _environment(request: EnvironmentRequest) -> Environment:
    device = open_device(request.device)
    return describe(device.kind, device.name)


Run = Callable[[Any], Record]
JOBS: Mapping[str, tuple[JobKind[Any, Any], Run]] = {
    kind.name: (kind, answer)
    for kind, answer in (
        (CANDIDATE_SIDE, _candidate_side),
        (CHECK, _check),
        (COMPILE, _compile),
        (ENVIRONMENT, _environment),
        (FIRST_CALL, _call_first),
        (REPLICATE, _replicate),
        (TOOL, external_tool.execute),
        (TRACE, _trace),
        (TRUSTED_SIDE, _trusted_side),
    )
}


def main() -> None:
    """Serves these jobs until the other side hangs up."""
    server.main(server.Jobs(prepare, run))
