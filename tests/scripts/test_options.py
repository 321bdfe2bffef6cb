"""Options that several commands share: what they mean together, and what they refuse."""

import importlib.util
from dataclasses import replace

import pytest

from gate.candidates.registry import find_candidate
from scripts import options
from tests.support import examples

ADVERSARIAL = ("--kernels", examples.ADVERSARIAL)
REQUIRED = examples.settings().required("cuda")


def test_a_dtype_alone_is_that_of_the_required_workloads():
    chosen = options.workloads((), "bfloat16", "cuda", examples.settings())
    assert chosen == tuple(dict.fromkeys(replace(each, dtype="bfloat16") for each in REQUIRED))
    assert options.workloads((), None, "cuda", examples.settings()) == REQUIRED


def test_a_dtype_is_that_of_the_shapes_that_name_none():
    named, other = options.workloads(("1,2,64,32,float32", "1,2,64,32"), "bfloat16", "cuda", examples.settings())
    assert (named.dtype, other.dtype) == ("float32", "bfloat16")


@pytest.mark.parametrize(
    "given",
    [("--replicates", 5, "--set", "measure.interim_replicates=[10,20]"), ("--alpha", 0.5, "--set", "gates.alpha=1")],
)
def test_a_number_that_is_given_twice_is_refused(given, kernel_gate):
    answer = kernel_gate("run", "--impl", "honest", *ADVERSARIAL, *given)
    assert answer.code == 64
    assert given[-1].partition("=")[0] in answer.complaint


@pytest.mark.parametrize("command", ["run", "measure-candidate", "fuzz"])
def test_a_candidate_whose_packages_are_absent_is_no_broken_kernel(command, kernel_gate, monkeypatch):
    installed = importlib.util.find_spec
    without = lambda name, *others: None if name == "triton" else installed(name, *others)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", without)
    answer = kernel_gate(command, "--impl", "triton", "--kernels", examples.ADVERSARIAL.parents[2] / "kernels")
    assert answer.code == 69
    assert answer.complaint.endswith("triton cannot run here: no Triton: pip install triton")


def test_a_candidate_that_needs_no_package_is_left_as_it_is():
    honest = find_candidate("honest", examples.ADVERSARIAL)
    assert options.runnable(honest) is honest


def test_a_backend_that_is_typed_goes_before_a_candidate_in_the_environment(kernel_gate, monkeypatch, no_cuda_tools):
    monkeypatch.setenv("IMPL", "honest")
    assert "ncu is not installed" in kernel_gate("profile", "--backend", "flash").complaint


def test_a_backend_that_is_none_is_refused_before_a_profiler_is_looked_for(kernel_gate, no_cuda_tools):
    answer = kernel_gate("profile", "--backend", "foo")
    assert (answer.code, "choose flash, cudnn" in answer.complaint) == (64, True)
