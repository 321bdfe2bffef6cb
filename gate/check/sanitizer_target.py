"""Calls a candidate once on each of a few cases, and looks at nothing: for compute-sanitizer to watch.

`gate/sandbox/bootstrap.py` starts it, with the file of a HarnessRequest. Inputs are made on the host, so that hardly
a kernel runs but the candidate's own, in allocations of their own size, so that every access beyond one is seen.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gate.check.sanitizer import RAN, SanitizerRequest
from gate.records import Case, Status
from gate.records.codec import from_json
from gate.runtime.device import Device, open_device
from gate.runtime.implementations import CandidateError, Implementation, Operands, open_implementation
from gate.sandbox.external_tool import confine_program


def main(path: str, kind: str = "cuda") -> None:
    """Confines this process for good, and answers one request."""
    asked = from_json(SanitizerRequest, Path(path).read_text(), path)
    device = open_device(kind)
    device.empty_launch()()  # what watches this process opens its files with the first launch
    device.synchronize()
    confine_program()
    call_cases(asked, device)


def call_cases(asked: SanitizerRequest, device: Device) -> None:
    """Runs every case that the candidate supports. Raises what it raises."""
    implementation = open_implementation(asked.impl, asked.candidate)
    ran = sum(_run(device, implementation, case) for case in asked.cases)
    print(f"{RAN} {ran} of {len(asked.cases)} cases")


def _run(device: Device, implementation: Implementation, case: Case) -> bool:
    workload = case.workload
    dtype = getattr(torch, workload.dtype)
    generator = torch.Generator().manual_seed(0)
    given = (torch.randn(workload.shape, generator=generator).to(dtype).to(device.kind) for _ in range(3))
    q, k, v = given
    out = torch.empty(workload.shape, dtype=dtype, device=device.kind)
    operands = Operands(q, k, v, out, workload.head_dim**-0.5, workload.causal)
    try:
        with implementation.selected():
            implementation.bind(operands, device).launch()
        device.synchronize()
    except CandidateError as error:
        if error.status is Status.UNSUPPORTED:
            return False
        raise
    return True
