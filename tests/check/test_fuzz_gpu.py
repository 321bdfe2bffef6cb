"""On a real GPU: strided inputs, hard inputs, one's own functions, and compute-sanitizer."""

import pytest
import torch

from gate.candidates.registry import find_candidate
from gate.check import sanitizer
from gate.check.fuzz import choose_cases, fuzz
from gate.errors import UnfitEnvironmentError
from gate.machine import nvml
from gate.notebook.evaluate import evaluate_candidate
from gate.session import Session
from gate.settings.model import Settings
from tests.support import examples

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu_bench(gpu_servers):
    settings = Settings(limits=examples.limits(memory_mb=16384))
    with nvml.initialised():
        yield Session(*gpu_servers, "cuda", settings, lambda label, done, total: None)


def test_a_right_kernel_passes_all_that_extended_asks(gpu_bench):
    matrices = gpu_bench.settings.fuzz
    cases = choose_cases(matrices, "cuda", ("float16",), full=False, extended=True)
    report = fuzz(gpu_bench, find_candidate("cuda_honest", examples.ADVERSARIAL), cases[27:])
    assert [(str(each.case), each.correctness.message) for each in report.results if each.failed] == []
    assert report.exit_code == 0


def test_a_wrong_kernel_is_shrunk_and_says_where(gpu_bench):
    matrices = gpu_bench.settings.fuzz
    cases = choose_cases(matrices, "cuda", ("float16",), full=False, extended=False)
    report = fuzz(gpu_bench, find_candidate("cuda_no_write", examples.ADVERSARIAL), cases[:1])
    assert report.exit_code == 1
    assert report.failure.shrunk.case.workload.shape[:3] == (1, 1, 1)


def test_ones_own_function_is_evaluated_and_the_stream_is_given_back():
    attention = torch.nn.functional.scaled_dot_product_attention
    q, k, v = (torch.randn(1, 8, 512, 64, device="cuda", dtype=torch.float16) for _ in range(3))
    before = torch.cuda.current_stream()
    result = evaluate_candidate(lambda q, k, v, scale: attention(q, k, v, scale=scale), q, k, v, 0.125, "math", 20)
    assert torch.cuda.current_stream() == before
    assert result.correctness.message == ""
    assert result.performance.speedup > 1
    assert result.passed
    wrong = evaluate_candidate(lambda q, k, v, scale: attention(q, k, v, scale=scale * 1.03), q, k, v, 0.125)
    assert not wrong.correctness.passed


def test_a_right_kernel_is_clean_under_every_tool(gpu_bench):
    try:
        program = sanitizer.find_sanitizer()
    except UnfitEnvironmentError:
        pytest.skip("no compute-sanitizer here")
    report = sanitizer.sanitize(gpu_bench, find_candidate("cuda_honest", examples.ADVERSARIAL), "float16", program)
    assert [(each.tool, each.errors, each.message) for each in report.tools] == [
        (tool, 0, "") for tool in sanitizer.TOOLS
    ]
