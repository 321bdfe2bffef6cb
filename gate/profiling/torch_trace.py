"""Traces the kernels of a call, with durations by CUPTI: a third clock, independent of CUDA events and the host's."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any

from torch.autograd.profiler import profile  # torch.profiler imports torch's compiler first: 3.6 s

from gate.records import Trace, Workload
from gate.runtime.device import Device
from gate.runtime.execution import Execution
from gate.runtime.implementations import Implementation

WARM_UPS, LAUNCHES = 3, 10
MAX_S = 5.0
"""Time limit of the launches, and of the warm-up: a slow candidate gets fewer launches."""
MIN_S = 1e-6


def trace_call(device: Device, name: str, implementation: Implementation, workload: Workload) -> Trace:
    """The kernels (on a CPU, the operators) of one call of `implementation`, from a warm cache.

    `kernel_ms` is their summed duration per call; None if the profiler recorded no kernels.
    """
    execution = Execution(device, implementation, workload, random.Random(0))
    execution.refresh(1)
    launches = _warm_up(execution)
    events = (_kernels if device.kind == "cuda" else _operators)(execution, launches)
    names = tuple(dict.fromkeys(event.name for event in events))
    if device.kind != "cuda" or not events:
        return Trace(name, names)
    return Trace(name, names, sum(event.time_range.elapsed_us() for event in events) / 1e3 / launches)


def _warm_up(execution: Execution) -> int:
    """Up to three calls within MAX_S; returns the number of launches to trace, by the time of the last call."""
    begun = time.perf_counter()
    for _ in range(WARM_UPS):
        started = time.perf_counter()
        execution.run()
        if (ended := time.perf_counter()) - begun > MAX_S:
            break
    return max(1, min(LAUNCHES, int(MAX_S / max(ended - started, MIN_S))))


def _kernels(execution: Execution, launches: int) -> list[Any]:
    """Every kernel, copy and fill on the device, as CUPTI reports them."""
    with profile(use_device="cuda", use_kineto=True) as seen:
        _launch(execution, launches)
    events: Iterable[Any] = seen.function_events or ()
    return [event for event in events if event.device_type.name == "CUDA"]


def _operators(execution: Execution, launches: int) -> list[Any]:
    """The attention operators."""
    with profile() as seen:
        _launch(execution, launches)
    events: Iterable[Any] = seen.function_events or ()
    return [event for event in events if event.name.startswith("aten::_scaled_dot_product")]


def _launch(execution: Execution, launches: int) -> None:
    for _ in range(launches):
        execution.run()
