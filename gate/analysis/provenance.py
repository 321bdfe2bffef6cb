"""Finds SDPA's kernels among the kernels that a candidate launches: such a candidate cannot be faster than SDPA.

It compares names in the kernel trace. Only attention kernels count; any candidate may launch matrix products, copies
and element-wise kernels. The profiler runs in the candidate's process, and the candidate could hide kernels from it;
but a hidden SDPA kernel is still only as fast as SDPA.
"""

from __future__ import annotations

import re

from gate.records import Evaluation, Trace
from gate.records.sdpa import PREFIX

PYTORCH = re.compile(
    r"aten::_scaled_dot_product"  # operators: every backend on a CPU
    r"|\bpytorch_flash::"  # flash; other builds of FlashAttention have another namespace
    r"|\bfmha_cutlassF|PyTorchMemEffAttention"  # efficient
    r"|^cudnn_generated\w*_sdpa_"  # cuDNN
)
"""Kernel names of SDPA's fused backends in torch 2.6 to 2.13 (in full in baselines/nvidia-h200/sdpa.json)."""
GENERIC = re.compile(r"\bMem(set|cpy)\b|\bat::native::|gemm|softmax", re.IGNORECASE)
"""Generic kernels, which both a fused backend and a candidate may launch."""
FUSED = tuple(PREFIX + name for name in ("flash", "cudnn", "efficient"))


def sdpa_kernel_used(evaluation: Evaluation, implementation: str) -> str | None:
    """The first SDPA kernel in the trace of `implementation`; None if there is none."""
    trace = evaluation.trace(implementation)
    fused = [other for other in evaluation.traces if other.implementation in FUSED]
    sdpa_names = {name for other in fused for name in _attention_kernels(other)}
    return (
        next((name for name in trace.kernels if name in sdpa_names or PYTORCH.search(name)), None) if trace else None
    )


def _attention_kernels(trace: Trace) -> list[str]:
    return [name for name in trace.kernels if not GENERIC.search(name)]
