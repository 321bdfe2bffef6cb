"""kernels/triton is right, as far as Triton's interpreter tells: on a CPU, in processes of its own."""

import importlib.util
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gate.candidates.registry import find_candidate
from gate.check import oracle
from gate.check.accuracy import largest_error, ulp
from gate.check.check import check
from gate.check.fuzz import fuzz
from gate.records import Case, Status, Workload
from gate.runtime.device import open_device
from gate.runtime.implementations import PythonCandidate
from gate.settings.model import Settings

KERNELS = Path(__file__).parents[2] / "kernels"
SOURCE = KERNELS / "triton" / "kernel.py"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed here: pip install triton"
)


@pytest.fixture(scope="module")
def apart():
    """Runs functions of this module in another process, which alone imports Triton and its interpreter."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield lambda function, *arguments: executor.submit(function, *arguments).result()


def kernel():
    specification = importlib.util.spec_from_file_location("triton_kernel", SOURCE)
    module = importlib.util.module_from_spec(specification)
    vars(module).update(find_candidate("triton", KERNELS).config)
    specification.loader.exec_module(module)
    return module


def checked(workload):
    tolerance = Settings().tolerance[workload.dtype]
    return check(
        open_device("cpu"),
        PythonCandidate(SOURCE, find_candidate("triton", KERNELS).config),
        Case(workload),
        tolerance,
        seed=1,
    )


def same(tensor):
    return tensor


def share_of_the_limit(scale=0.2, dtype="float32", causal=True, arrange=same, gain=1.0):
    """The error over what the second rule allows, with q, k, v and out laid out by `arrange` and q times `gain`."""
    shape, generator = (2, 3, 70, 32), torch.Generator().manual_seed(1)
    q, k, v, out = (torch.empty(shape, dtype=getattr(torch, dtype)).normal_(generator=generator) for _ in range(4))
    q, k, v, out = (arrange(tensor) for tensor in (q * gain, k, v, out))
    kernel().attention(q, k, v, scale, causal, out)
    sdpa = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    expected = oracle.attention(q, k, v, scale, causal)
    return largest_error(out, expected) / (2 * largest_error(sdpa, expected) + ulp(expected, out.dtype))


@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("head_dim", [32, 64])
@pytest.mark.parametrize("seq_len", [1, 17, 64, 113])
def test_passes_every_check(apart, seq_len, head_dim, dtype, causal):
    correctness = apart(checked, Workload(1, 1, seq_len, head_dim, dtype, causal))
    assert (correctness.status, correctness.message) == (Status.OK, "")


@pytest.mark.parametrize(
    "workload",
    [
        Workload(2, 1, 128, 128, "float32"),
        Workload(1, 1, 65, 128, "float16", True),
        Workload(1, 2, 70, 32, "bfloat16"),
    ],
    ids=str,
)
def test_passes_with_other_head_sizes_and_types(apart, workload):
    correctness = apart(checked, workload)
    assert (correctness.status, correctness.message) == (Status.OK, "")


def rows_before_heads(tensor):
    return torch.empty_like(tensor.transpose(1, 2).contiguous()).transpose(1, 2).copy_(tensor)


def columns_before_rows(tensor):
    return torch.empty_like(tensor.transpose(2, 3).contiguous()).transpose(2, 3).copy_(tensor)


def every_other_column(tensor):
    return tensor.repeat_interleave(2, dim=3)[..., ::2]


@pytest.mark.parametrize("arrange", [rows_before_heads, columns_before_rows, every_other_column])
def test_takes_inputs_and_output_of_any_strides(apart, arrange):
    assert not arrange(torch.zeros(2, 3, 5, 7)).is_contiguous()
    assert apart(share_of_the_limit, 0.2, "float32", True, arrange) <= 1.0


@pytest.mark.parametrize("scale", [1.0, 0.0, -0.5])
def test_takes_any_scale(apart, scale):
    assert apart(share_of_the_limit, scale) <= 1.0


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_scores_of_hundreds_do_not_overflow(apart, scale):
    assert apart(share_of_the_limit, scale, "float16", False, same, 100.0) <= 1.0


def test_says_so_where_triton_was_imported_for_the_other_device(monkeypatch):
    compiling = SimpleNamespace(JITFunction=int, language=SimpleNamespace(max=1))
    monkeypatch.setitem(sys.modules, "triton", compiling)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(RuntimeError, match="use a fresh process"):
        kernel().load_forward("cpu")


ANY_LAYOUT = (("float16", "odd_rows"), ("float32", "heads_inside"))


def test_finds_the_interpreter_by_itself_in_a_stripped_environment(session, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")  # and it would not arrive
    cases = [Case(Workload(1, 2, 40, 32, dtype), layout=layout) for dtype, layout in ANY_LAYOUT]
    report = fuzz(session, find_candidate("triton", KERNELS), cases)
    assert [each.correctness.message for each in report.results] == ["", ""]
    assert {each.correctness.status for each in report.results} == {Status.OK}
