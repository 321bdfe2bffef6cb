"""The candidates of docs/examples/kernels, each with a compiler of its own: built once a run, and right.

One build each, on the CPU; on a GPU `pytest -m gpu tests/kernels/test_python_examples.py` judges all of them.
"""

import importlib.util
import shutil
from pathlib import Path

import pytest

from gate.candidates.registry import candidate_names, find_candidate
from gate.records import Case, Status, Workload
from gate.sandbox.calls import CallFailure
from gate.sandbox.calls import call as call_server
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import CHECK, FIRST_CALL, CheckRequest
from gate.settings.model import Tolerance
from tests.support import examples

KERNELS = Path(__file__).parents[2] / "docs" / "examples" / "kernels"
LIMITS = examples.limits(build_s=900.0, check_s=600.0, memory_mb=8192, file_mb=1024)  # compilers, on a busy machine
CASE = Case(Workload(1, 2, 70, 32, "float32", causal=True))


@pytest.fixture(scope="module")
def compiling():
    """A server whose limits have room for a compiler."""
    with WorkerServer(LIMITS) as server:
        yield server


def asked(server, kind, name, device="cpu"):
    """The answer of one process that does this kind of job for that candidate."""
    tolerance, candidate = examples.settings().tolerance["float32"], find_candidate(name, KERNELS)
    answers = call_server(
        server, kind, [CheckRequest(device, CASE, name, candidate.entry, tolerance, 1)], LIMITS.build_s
    )
    assert not isinstance(answers, CallFailure), answers
    assert (answers[0].message, answers[0].status) == ("", Status.OK)


def made(server, pattern):
    """What lies in the run's caches, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in Path(server._caches).glob(f"**/{pattern}")}


COMPILED = {"load_inline": "attention_inline*.so", "torch_compile": "*.so", "numba_jit": "*.nbc"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pattern"), COMPILED.items(), ids=COMPILED)
def test_what_a_candidate_compiles_is_compiled_once_a_run_and_right(name, pattern, compiling):
    if name == "numba_jit":
        pytest.importorskip("numba", reason="numba is not installed here: pip install numba")
    asked(compiling, FIRST_CALL, name)
    compiled = made(compiling, pattern)
    assert compiled
    asked(compiling, CHECK, name)
    assert made(compiling, pattern) == compiled


NUMBA = """
import os, pathlib

def njit(cache):
    return kept

def kept(function):
    beside = pathlib.Path(function.__code__.co_filename).parent / "__pycache__"
    index = pathlib.Path(os.environ.get("NUMBA_CACHE_DIR", beside)) / f"{function.__qualname__}.nbi"
    print("found" if index.exists() else "compiled")
    index.write_text("")
    return function
"""


def test_what_keeps_its_files_as_numba_does_finds_them_in_the_runs_next_process(compiling, tmp_path):
    folder = shutil.copytree(KERNELS / "numba_jit", tmp_path / "numba_jit")
    (folder / "numba.py").write_text(NUMBA)
    before = sorted(folder.rglob("*"))
    request = CheckRequest(
        "cpu", CASE, "numba_jit", find_candidate("numba_jit", tmp_path).entry, Tolerance(1e-5, 1e-5), 1
    )
    endings = [compiling.call(kind, [request], LIMITS.build_s) for kind in (FIRST_CALL, CHECK)]
    assert [each.last_output_line for each in endings] == ["compiled", "found"]
    assert sorted(folder.rglob("*")) == before


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed: pip install triton")
def test_triton_computes_on_a_cpu_though_its_author_did_not_ask_for_the_interpreter(compiling):
    asked(compiling, CHECK, "triton_tile")


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name", [each for each in candidate_names(KERNELS) if "cuda" in find_candidate(each, KERNELS).devices]
)
def test_every_example_is_right_on_a_gpu(name, compiling):
    asked(compiling, FIRST_CALL, name, "cuda")
    asked(compiling, CHECK, name, "cuda")
