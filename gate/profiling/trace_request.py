"""Asks a process which kernels an implementation runs."""

from __future__ import annotations

from collections.abc import Sequence

from gate.records import Trace, Workload
from gate.sandbox.calls import CallFailure, JobKind, call_each
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import TraceAnswer, TraceRequest

TRACE_S = 120.0


def trace_implementations(
    server: WorkerServer,
    device: str,
    asked: Sequence[tuple[Workload, tuple[str, ...]]],
    source: str | None = None,
) -> list[tuple[Trace, ...]]:
    """For each workload the kernels of each implementation; one that cannot be traced has a trace that says why."""
    requests = [TraceRequest(device, workload, names, source) for workload, names in asked]
    answers = call_each(server, JobKind("trace", TraceAnswer), requests, TRACE_S)
    return [_traces(answer, names) for answer, (_, names) in zip(answers, asked, strict=True)]


def _traces(answer: TraceAnswer | CallFailure, names: tuple[str, ...]) -> tuple[Trace, ...]:
    if isinstance(answer, TraceAnswer):
        return answer.traces
    return tuple(Trace(name, refusal=answer.message) for name in names)
