"""Every CUDA candidate of this repository compiles for the products' GPUs, and keeps what it claims."""

import tomllib
from pathlib import Path

import pytest

from gate.build import build
from gate.records import Status
from gate.registry import find, names
from tests.cuda_candidate import needs_nvcc

KERNELS = Path(__file__).parents[1] / "kernels"
RUNGS = [
    name
    for name in names(KERNELS)
    if tomllib.loads((KERNELS / name / "kernel.toml").read_text())["language"] == "cuda"
]


@needs_nvcc
@pytest.mark.parametrize("name", RUNGS)
def test_it_compiles_and_takes_no_more_than_it_claims(name, server):
    candidate = find(name, KERNELS)
    made = build(candidate, server, 120.0, ["8.9", "9.0a"])
    assert made.status is Status.OK, f"{made.message}\n{made.log}"
    assert [each.rstrip("a") for each in made.architectures] == ["8.9", "9.0"]
    assert {each.architecture for each in made.resources} == set(made.architectures)
    assert candidate.resources.broken_by(made.resources) == ()
    assert [each.kernel for each in made.resources if each.occupancy == 0] == [], "cannot be launched"
