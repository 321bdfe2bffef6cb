"""What can play an arm. Compiled candidates are built once and kept in the tests' cache."""

import pytest
import torch

from gate.build.build import build
from gate.candidates.registry import find_candidate
from gate.records import Status
from gate.runtime.device import open_device
from gate.runtime.implementations import (
    CandidateError,
    CompiledCandidate,
    Empty,
    Operands,
    PythonCandidate,
    SdpaBackend,
    open_implementation,
)
from tests.support import examples

SHAPE = (2, 3, 5, 8)


@pytest.fixture
def operands():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    return Operands(q, k, v, torch.full(SHAPE, float("nan")), 0.3, True)


@pytest.fixture
def library(server):
    """The library of a candidate in tests/candidates/adversarial."""

    def built(name: str):
        return build(find_candidate(name, examples.ADVERSARIAL), server, 120.0).library

    return built


@pytest.fixture
def source(tmp_path):
    """A Python candidate's file."""

    def write(code: str):
        path = tmp_path / "kernel.py"
        path.write_text(code)
        return path

    return write


def answer(implementation, operands) -> torch.Tensor:
    bound = implementation.bind(operands, open_device("cpu"))
    with implementation.selected():
        return bound.launch()


def expected(operands) -> torch.Tensor:
    attention = torch.nn.functional.scaled_dot_product_attention
    return attention(operands.q, operands.k, operands.v, is_causal=operands.causal, scale=operands.scale)


@pytest.mark.parametrize("backend", ["flash", "math"])
def test_an_sdpa_backend_answers_as_sdpa(backend, operands):
    assert torch.allclose(answer(SdpaBackend(backend), operands), expected(operands), atol=1e-6)


def test_a_selected_backend_is_the_only_one(monkeypatch, operands):
    allowed = []

    def spy(*arguments, **options):
        flags = (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled())
        allowed.append(flags)
        return torch.zeros(SHAPE)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    answer(SdpaBackend("flash"), operands)
    answer(SdpaBackend("math"), operands)
    assert allowed == [(True, False), (False, True)]


def test_the_empty_launch_writes_nothing(operands):
    assert torch.isnan(answer(Empty(), operands)).all()


def test_a_compiled_candidate_gets_all_arguments(library, operands):
    assert torch.allclose(answer(CompiledCandidate(library("honest")), operands), expected(operands), atol=1e-6)


def test_a_compiled_candidate_gets_the_strides(library, operands):
    strided = {name: getattr(operands, name).transpose(1, 2).contiguous().transpose(1, 2) for name in ("q", "k", "v")}
    view = Operands(**strided, out=operands.out, scale=operands.scale, causal=operands.causal)
    assert not view.q.is_contiguous()
    assert torch.allclose(answer(CompiledCandidate(library("honest")), view), expected(operands), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("error_code", Status.CRASHED, "returned 7 (an error code that attention.h does not define)"),
        ("refuses", Status.UNSUPPORTED, "unsupported"),
    ],
)
def test_a_code_that_is_not_ok_is_an_error_with_a_status(name, status, words, library, operands):
    with pytest.raises(CandidateError) as caught:
        answer(CompiledCandidate(library(name)), operands)
    assert caught.value.status is status
    assert words in str(caught.value)


def test_workspace_is_what_was_asked_for_and_guarded(library, operands):
    bound = CompiledCandidate(library("writes_beside_workspace")).bind(operands, open_device("cpu"))
    assert bound.workspace.tensor.numel() == 64
    assert bound.workspace.intact()
    bound.launch()
    assert not bound.workspace.intact()


def test_a_python_candidate_gets_its_operands_in_order(source, operands):
    code = "def attention(q, k, v, scale, causal, out): out.copy_(q + 2 * k + 3 * v + scale + causal)"
    each = operands
    assert torch.equal(
        answer(PythonCandidate(source(code)), operands), each.q + 2 * each.k + 3 * each.v + each.scale + each.causal
    )


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("raise RuntimeError('no such device')", Status.CRASHED, "RuntimeError: no such device"),
        ("def attention(", Status.CRASHED, "SyntaxError"),
        ("import sys; sys.exit(0)", Status.CRASHED, "SystemExit"),
        ("attention = 3", Status.CRASHED, "no function attention"),
        ("import no_such_module", Status.CRASHED, "ModuleNotFoundError"),
        ("raise MemoryError('too much')", Status.OUT_OF_MEMORY, "too much"),
    ],
)
def test_a_python_file_that_cannot_be_used_is_an_error_with_a_status(code, status, words, source):
    with pytest.raises(CandidateError) as caught:
        PythonCandidate(source(code))
    assert caught.value.status is status
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("raise ValueError('no')", Status.CRASHED),
        ("raise KeyboardInterrupt", Status.CRASHED),
        ("raise SystemExit(0)", Status.CRASHED),
        ("raise MemoryError", Status.OUT_OF_MEMORY),
        ("import torch; raise torch.OutOfMemoryError('no')", Status.OUT_OF_MEMORY),
    ],
)
def test_whatever_a_python_candidate_raises_is_an_error_with_a_status(statement, status, source, operands):
    candidate = PythonCandidate(source(f"def attention(q, k, v, scale, causal, out): {statement}"))
    with pytest.raises(CandidateError) as caught:
        answer(candidate, operands)
    assert caught.value.status is status


def test_a_python_candidates_tunables_are_there_before_it_is_executed(source, operands):
    code = "BLOCK_M: int\nDOUBLE = 2 * BLOCK_M\ndef attention(q, k, v, scale, causal, out): out.fill_(DOUBLE)"
    candidate = open_implementation("mine", f"{source(code)}#BLOCK_M=64,BLOCK_N=32")
    assert answer(candidate, operands).unique().tolist() == [128]


@pytest.mark.parametrize("folder", ["a#b", "a.py#A=1", "plain"])
def test_a_python_candidate_may_lie_anywhere(folder, tmp_path, operands):
    path = tmp_path / folder / "kernel.py"
    path.parent.mkdir()
    path.write_text("def attention(q, k, v, scale, causal, out): out.fill_(len(globals().get('A', '')))")
    assert answer(open_implementation("mine", f"{path}#"), operands).unique().tolist() == [0]
    assert isinstance(open_implementation("mine", str(path)), PythonCandidate)


def test_an_arm_is_opened_by_what_plays_it(source, library):
    path = source("def attention(q, k, v, scale, causal, out): pass")
    assert isinstance(open_implementation("sdpa:flash", str(path)), SdpaBackend)
    assert isinstance(open_implementation("empty", None), Empty)
    assert isinstance(open_implementation("mine", str(path)), PythonCandidate)
    assert isinstance(open_implementation("mine", library("honest")), CompiledCandidate)
