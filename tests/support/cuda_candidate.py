"""A CUDA candidate for tests, which nvcc compiles within two seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from gate.machine.cuda_tools import find_tool

CODE = """\
#include <cuda_runtime.h>
#include "attention.h"
template <int D> __global__ void __launch_bounds__(32 * NUM_WARPS) attend(float *out) {
  __shared__ float row[D];
  row[threadIdx.x % D] = out[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = row[0];
}
extern "C" int attention(const attention_args *args) {
  attend<64><<<1, 32 * NUM_WARPS, 0, static_cast<cudaStream_t>(args->stream)>>>(static_cast<float *>(args->out));
  return cudaGetLastError() == cudaSuccess ? ATTENTION_OK : ATTENTION_LAUNCH_FAILED;
}
extern "C" size_t attention_workspace_bytes(const attention_args *) { return NUM_WARPS; }
"""
TOML = """\
name = "tiny"
summary = "compiles fast"
language = "cuda"
sources = ["kernel.cu"]
architectures = ["8.0", "8.9", "9.0"]

[tunables]
NUM_WARPS = [4, 8]
"""

needs_nvcc = pytest.mark.skipif(find_tool("nvcc") is None, reason="no nvcc here: install the CUDA toolkit")


def write_candidate(kernels: Path, code: str = CODE, toml: str = TOML) -> Path:
    """Makes `tiny` in a kernels directory; returns its folder."""
    folder = kernels / "tiny"
    folder.mkdir(parents=True)
    (folder / "kernel.cu").write_text(code)
    (folder / "kernel.toml").write_text(toml)
    return folder
