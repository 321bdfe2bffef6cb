"""Attention that is almost right is rejected on every required workload, and right attention is not.

The float16 workloads that a GPU is to win are here with two heads in all, at their full length: a CPU takes minutes
for the rest of their batch. `python -m tests.benchmarks.mutation_score --full` takes them whole.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gate.candidates.registry import candidate_names, find_candidate
from gate.check import oracle
from gate.check.accuracy import allowed_error
from gate.check.check import check
from gate.records import Case, Status
from gate.runtime.device import open_device
from gate.runtime.implementations import PythonCandidate
from gate.settings.load import load_settings
from gate.settings.model import Settings
from tests.candidates.mutants import cuda, wrong
from tests.candidates.mutants.registry import write_registry

pytestmark = pytest.mark.xdist_group("mutants")  # one answer serves many

REQUIRED = load_settings(Path(__file__).parents[2] / "gate.toml").required
WORKLOADS = list(
    dict.fromkeys(replace(each, batch=1, heads=2) for kind in ("cpu", "cuda") for each in REQUIRED(kind))
)


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> Path:
    return write_registry(tmp_path_factory.mktemp("mutants"))


def bytes_of(inputs, scale, causal, *_):
    """All that the two functions below depend on."""
    return *(each.contiguous().view(torch.uint8).numpy().tobytes() for each in inputs), scale, causal


@pytest.fixture(scope="module", autouse=True)
def answers_once_an_input():
    """Every mutant of a workload gets the same inputs: oracle and SDPA answer once, which is most of a check."""
    solved, allowed = {}, {}

    def solve(q, k, v, *rest):
        return remembered(solved, bytes_of((q, k, v), *rest), lambda: oracle.solve(q, k, v, *rest))

    def errors(inputs, *rest):
        return remembered(allowed, bytes_of(inputs, *rest), lambda: allowed_error(inputs, *rest))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gate.check.check.oracle", SimpleNamespace(solve=solve))
        patch.setattr("gate.check.check.allowed_error", errors)
        yield


def remembered(kept, key, compute):
    if key not in kept:
        kept[key] = compute()
    return kept[key]


def checked(registry, name, workload):
    candidate = PythonCandidate(registry / name / "kernel.py")
    return check(open_device("cpu"), candidate, Case(workload), Settings().tolerance[workload.dtype], seed=1)


def test_the_workloads_are_those_of_the_policy():
    assert {(each.seq_len, each.dtype) for each in WORKLOADS} == {
        (512, "float32"), (128, "float16"), (256, "float16"), (512, "float16"), (1024, "float16"),
    }  # fmt: skip


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
@pytest.mark.parametrize("name", [each.__name__ for each in wrong.EVERYWHERE])
def test_a_mutant_is_rejected_on_every_required_workload(name, workload, registry):
    assert checked(registry, name, workload).status is Status.INCORRECT


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
@pytest.mark.parametrize("name", [each.__name__ for each in wrong.MASKED])
def test_a_mutant_of_the_mask_is_rejected_on_every_required_workload_made_causal(name, workload, registry):
    assert checked(registry, name, replace(workload, causal=True)).status is Status.INCORRECT


@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", wrong.CONTROLS)
def test_without_its_mistake_it_is_right(name, causal, workload, registry):
    assert checked(registry, name, replace(workload, causal=causal)).message == ""


def test_there_are_more_than_thirty_and_each_is_a_candidate(registry):
    assert len(wrong.MUTANTS) > 30
    for name in candidate_names(registry):
        assert find_candidate(name, registry).name == name


@pytest.mark.parametrize("name", cuda.MUTANTS)
def test_a_cuda_mutant_differs_from_the_kernel_by_its_mistake(name):
    assert cuda.source(name) != cuda.source("right")


def test_a_piece_that_the_kernel_has_no_longer_is_no_mutant(monkeypatch):
    monkeypatch.setitem(cuda.MUTANTS, "lost", ("text that was never there", "x"))
    with pytest.raises(ValueError, match="0 times: text that was never there"):
        cuda.source("lost")
