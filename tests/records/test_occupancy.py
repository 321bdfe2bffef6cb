import shutil
import subprocess
from pathlib import Path

import pytest

from gate.records.occupancy import MULTIPROCESSORS, occupancy

# NVIDIA's own arithmetic, asked for the blocks that a multiprocessor holds.
HARNESS = r"""
#include <cstdio>
#include <cstdlib>
#include "cuda_occupancy.h"
int main() {
  int major, minor, warps, shared, registers, threads, used;
  while (std::scanf("%d %d %d %d %d %d %d", &major, &minor, &warps, &shared, &registers, &threads, &used) == 7) {
    cudaOccDeviceProp device = {};
    device.computeMajor = major;
    device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = warps * 32;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerMultiprocessor = shared;
    device.sharedMemPerBlockOptin = shared - 1024;
    device.reservedSharedMemPerBlock = 1024;
    device.numSms = 1;
    cudaOccFuncAttributes kernel = {};
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.maxDynamicSharedSizeBytes = shared;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    cudaOccDeviceState state = {};
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result = {};
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, used)) return 1;
    std::printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
}
"""


def header() -> Path | None:
    nvcc = shutil.which("nvcc") or ""
    places = [Path(nvcc).resolve().parents[1], Path("/usr/local/cuda")] if nvcc else [Path("/usr/local/cuda")]
    return next((place / "include" for place in places if (place / "include" / "cuda_occupancy.h").is_file()), None)


@pytest.mark.skipif(header() is None, reason="no cuda_occupancy.h here: it is in the CUDA toolkit")
def test_it_agrees_with_nvidias_own_arithmetic(tmp_path):
    (tmp_path / "harness.cpp").write_text(HARNESS)
    program = tmp_path / "harness"
    subprocess.run(["c++", "-w", f"-I{header()}", tmp_path / "harness.cpp", "-o", program], check=True)
    cases = [
        (architecture, registers, threads, shared)
        for architecture in MULTIPROCESSORS
        for registers in (0, 1, 16, 24, 32, 40, 41, 64, 80, 96, 128, 168, 200, 255)
        for threads in (1, 32, 33, 96, 128, 160, 224, 256, 384, 512, 1024)
        for shared in (0, 1, 1024, 4096, 16384, 33000, 50000, 99 << 10, 100 << 10, 163 << 10, 227 << 10)
    ]
    lines = []
    for architecture, registers, threads, shared in cases:
        limits = MULTIPROCESSORS[architecture]
        place = f"{architecture.replace('.', ' ')} {limits.warps} {limits.shared_bytes}"
        lines.append(f"{place} {registers} {threads} {shared}")
    done = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True)
    theirs = [int(line) for line in done.stdout.split()]
    ours = [round(occupancy(*case).fraction * MULTIPROCESSORS[case[0]].warps / -(-case[2] // 32)) for case in cases]
    assert len(theirs) == len(cases)
    assert [each for each in zip(cases, ours, theirs, strict=True) if each[1] != each[2]] == []
