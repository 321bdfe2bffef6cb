"""Calls a candidate once on each of a few cases, under compute-sanitizer. It does not check the outputs.

`gate/sandbox/bootstrap.py` starts it with the file of a SanitizerRequest. Inputs are generated on the host, so that
almost only the candidate's kernels run; every tensor is a separate allocation, so that accesses beyond it are found.
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
    """Confines this process to the sandbox and runs one request."""
    asked = from_json(SanitizerRequest, Path(path).read_text(), path)
    device = open_device(kind)
    device.empty_launch()()  # compute-sanitizer opens its files at the first launch
    device.synchronize()
    confine_program()
    call_cases(asked, device)


def call_cases(asked: SanitizerRequest, device: Device) -> None:
    """Runs every case that the candidate supports. Raises whatever the candidate raises."""
    implementation = open_implementation(asked.impl, asked.candidate)
    ran = sum(_run(device, implementation, case) for case in asked.cases)
    print(f"{RAN} {ran} of {len(asked.cases)} cases")


def _run(device: Device, implementation: Implementation, case: Case) -> bool:
    workload = case.workload
    dtype = getattr(torch, workload.dtype)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(workload.shape, generator=generator).to(dtype).to(device.kind) for _ in range(3))
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
