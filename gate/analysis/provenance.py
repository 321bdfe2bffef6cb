"""Whether a candidate computes by itself: a kernel of SDPA's cannot be faster than SDPA.

By the names that a profiler saw. Only attention kernels count: matrix products, copies and element-wise kernels are
anybody's. The profiler runs in the candidate's process, so that a candidate can hide what it runs; what it hides is
as fast as SDPA all the same.
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
"""What SDPA's fused backends are called in torch 2.6 to 2.13 (baselines/nvidia-h200/sdpa.json has them in full)."""
ANYBODYS = re.compile(r"\bMem(set|cpy)\b|\bat::native::|gemm|softmax", re.IGNORECASE)
"""Kernels that a fused backend may run beside its own, and a candidate too."""
FUSED = tuple(PREFIX + name for name in ("flash", "cudnn", "efficient"))


def sdpa_kernel_used(evaluation: Evaluation, implementation: str) -> str | None:
    """The first of SDPA's own kernels that `implementation` was seen to run; None where there is none."""
    trace = evaluation.trace(implementation)
    theirs = {name for trace in evaluation.traces if trace.implementation in FUSED for name in _special(trace)}
    return next((name for name in trace.kernels if name in theirs or PYTORCH.search(name)), None) if trace else None


def _special(trace: Trace) -> list[str]:
    return [name for name in trace.kernels if not ANYBODYS.search(name)]
