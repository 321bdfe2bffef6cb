"""Launches every requested call once, in an NVTX range: the program that runs under ncu.

`gate/sandbox/bootstrap.py` starts it with the file of an NcuRequest. In the range, an empty launch precedes every
call and separates the launches of different calls. The last line of output is an NcuAnswer.
"""

from __future__ import annotations

import contextlib
import random
import resource
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from gate.profiling.ncu import RANGE
from gate.profiling.protocol import ANSWER, Call, NcuAnswer, NcuRequest
from gate.records import Ceilings, Status
from gate.records.codec import from_json, to_json
from gate.runtime.device import Device, open_device
from gate.runtime.execution import Execution
from gate.runtime.implementations import CandidateError, open_implementation
from gate.sandbox.external_tool import confine_program

WARM_UPS = 3
COPY_BYTES = 1 << 30
MATRIX = 8192
BATCHES, BATCH = 3, 5


def main(path: str) -> None:
    """Runs one request and prints the answer, unless the candidate ends the process."""
    asked = from_json(NcuRequest, Path(path).read_text(), path)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (asked.file_mb << 20,) * 2)
    device = open_device(asked.device)
    if asked.candidate is not None:
        device.empty_launch()()  # ncu opens its files at the first launch
        device.synchronize()
        confine_program()
    answer = launch_calls(asked, device)
    print(f"\n{ANSWER}{to_json(answer)}", flush=True)


def launch_calls(asked: NcuRequest, device: Device) -> NcuAnswer:
    """Makes the calls, up to the first one that fails."""
    done = 0
    try:
        for call in asked.calls:
            _call(device, call, asked.candidate)
            done += 1
    except CandidateError as error:
        return NcuAnswer(error.status, done, str(error))
    except Exception as error:
        traceback.print_exc()
        return NcuAnswer(Status.CRASHED, done, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    answer = NcuAnswer(Status.OK, done)
    dtypes = dict.fromkeys(call.workload.dtype for call in asked.calls)
    return replace(answer, ceilings=_ceilings(tuple(dtypes))) if asked.ceilings else answer


def _call(device: Device, call: Call, candidate: str | None) -> None:
    """One call as in a trial, but uncaptured and without a flush: ncu flushes the caches before every pass."""
    implementation = open_implementation(call.implementation, candidate)
    marker = device.empty_launch()
    execution = Execution(device, implementation, call.workload, random.Random(0))
    execution.refresh(1)
    for _ in range(WARM_UPS):
        execution.run()
    device.synchronize()
    with _counted(device):
        marker()
        execution.run()


@contextlib.contextmanager
def _counted(device: Device) -> Iterator[None]:
    """The NVTX range that ncu profiles; no effect on a CPU."""
    if device.kind != "cuda":
        yield
        return
    torch.cuda.nvtx.range_push(RANGE)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]


def _ceilings(dtypes: tuple[str, ...]) -> Ceilings:
    """Copy bandwidth and matmul throughput: the fastest of a few batches, because disturbances only slow one down."""
    torch.backends.cuda.matmul.allow_tf32 = (
        True  # the fastest that 32-bit inputs can have, as in gate/analysis/roofline.py
    )
    source, target = (torch.empty(COPY_BYTES // 2, dtype=torch.uint8, device="cuda") for _ in range(2))
    copied = COPY_BYTES / _seconds(lambda: target.copy_(source))  # half of them read, half written
    return Ceilings(copied, {dtype: _matmul(dtype) for dtype in dtypes})


def _matmul(dtype: str) -> float:
    factors = [torch.randn(MATRIX, MATRIX, device="cuda").to(getattr(torch, dtype)) for _ in range(2)]
    product = torch.empty_like(factors[0])
    return 2 * MATRIX**3 / _seconds(lambda: torch.matmul(*factors, out=product))


def _seconds(launch: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    seen: list[float] = []
    for _ in range(1 + BATCHES):
        start.record()
        for _ in range(BATCH):
            launch()
        end.record()
        torch.cuda.synchronize()
        seen.append(start.elapsed_time(end) / 1e3 / BATCH)
    return min(seen)
