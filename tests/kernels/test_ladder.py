"""Every CUDA candidate of this repository compiles for the products' GPUs, and keeps what it claims."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from gate.build.build import build
from gate.candidates.registry import candidate_names, find_candidate
from gate.machine.cuda_tools import find_tool
from gate.records import Status
from tests.support.cuda_candidate import needs_nvcc

KERNELS = Path(__file__).parents[2] / "kernels"
RUNGS = [
    name
    for name in candidate_names(KERNELS)
    if tomllib.loads((KERNELS / name / "kernel.toml").read_text())["language"] == "cuda"
]
FAST = ("cublas",)
"""What nvcc compiles within seconds; it takes up to a minute for the others."""


@needs_nvcc
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in RUNGS]
)
def test_it_compiles_and_takes_no_more_than_it_claims(name, server):
    candidate = find_candidate(name, KERNELS)
    made = build(candidate, server, 120.0, ["8.9", "9.0a"])
    assert made.status is Status.OK, f"{made.message}\n{made.log}"
    wanted = ["9.0"] if candidate.architectures == ("9.0a",) else ["8.9", "9.0"]
    assert [each.rstrip("a") for each in made.architectures] == wanted
    assert {each.architecture for each in made.resources} == set(made.architectures)
    assert candidate.resources.broken_by(made.resources) == ()
    assert [each.kernel for each in made.resources if each.occupancy == 0] == [], "cannot be launched"
    assert [each.kernel for each in made.resources if not each.known] == [], (
        "kernel.toml does not say what it is given"
    )


@needs_nvcc
@pytest.mark.parametrize(
    ("name", "header", "architecture", "shapes"),
    [("wmma", "shape.cuh", "sm_89", 6), ("wgmma", "split.cuh", "sm_90a", 8)],
)
def test_it_takes_the_shared_memory_that_its_kernel_toml_says(name, header, architecture, shapes, server, tmp_path):
    candidate = find_candidate(name, KERNELS)
    claims = ""
    for part, size in candidate.dynamic_shared_bytes.items():
        head_dim, shape = part.split(", ", 1)
        kind = "SplitMemory" if "::Split<" in shape else "Memory"
        claims += f"static_assert({name}::{kind}<{shape}, {head_dim}>::bytes == {size});\n"
    assert claims.count("static_assert") == shapes
    source = tmp_path / "claims.cu"
    source.write_text(f'#include "{KERNELS}/{name}/{header}"\n{claims}')
    done = subprocess.run(
        [find_tool("nvcc"), "-std=c++17", f"-arch={architecture}", "-cubin", "-o", tmp_path / "claims.cubin", source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
