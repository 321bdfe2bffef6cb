"""Asks a process which kernels an implementation runs."""

from __future__ import annotations

from collections.abc import Sequence

from gate.records import Trace, Workload
from gate.sandbox.calls import CallFailure, call_each
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import TRACE, TraceAnswer, TraceRequest

TRACE_S = 120.0


def trace_implementations(
    server: WorkerServer,
    device: str,
    names: tuple[str, ...],
    workloads: Sequence[Workload],
    source: str | None = None,
) -> list[tuple[Trace, ...]]:
    """Traces each implementation on each workload: its kernels, or why it could not be traced.

    `source` is the candidate's library or Python file, if a candidate is among the names.
    """
    requests = [TraceRequest(device, workload, names, source) for workload in workloads]
    answers = call_each(server, TRACE, requests, TRACE_S)
    return [_traces(answer, names) for answer in answers]


def _traces(answer: TraceAnswer | CallFailure, names: tuple[str, ...]) -> tuple[Trace, ...]:
    if isinstance(answer, TraceAnswer):
        return answer.traces
    return tuple(Trace(name, refusal=answer.message) for name in names)
