"""On a real GPU: faults are named and attributed, and what only a GPU allows a cheat is seen through."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gate.candidates.registry import find_candidate
from gate.machine import nvml
from gate.measure.pipeline import measure_candidate, measure_sdpa
from gate.notebook.in_process import own_device
from gate.records import Outcome, Status, Workload
from gate.runtime.device import open_device
from gate.session import Session
from gate.settings.model import MeasureSettings, Settings
from gate.verdict.judge import judge
from tests.support import examples
from tests.support.cheats import EXPECTED_ON_CUDA, stages

pytestmark = pytest.mark.gpu

WORKLOAD = Workload(1, 8, 512, 64)


@pytest.fixture
def gpu_bench(gpu_servers):
    measure = MeasureSettings(
        baseline="flash",
        interim_replicates=(2,),
        rounds=8,
        warmup_rounds=4,
        selection_replicates=1,
        selection_rounds=4,
    )
    limits = examples.limits(build_s=60.0, check_s=20.0, replicate_s=20.0, memory_mb=8192)
    with nvml.initialised():
        index = nvml.visible_index()
        settings = Settings(measure=measure, limits=limits)
        yield Session(*gpu_servers, "cuda", settings, lambda label, done, total: None, lambda: looked(index))


def looked(index):
    """Another test of this process may have left a context on the GPU, which is nobody else's."""
    return nvml.read_telemetry(index, (os.getpid(),))


@pytest.mark.parametrize("name", EXPECTED_ON_CUDA)
def test_every_adversarial_kernel_ends_as_its_status(name, gpu_bench):
    stage, status, (outcome, exit_code), words = EXPECTED_ON_CUDA[name]
    measurement = measure_candidate(gpu_bench, find_candidate(name, examples.ADVERSARIAL), (WORKLOAD,))
    *before, last = stages(measurement)
    assert last[:2] == (stage, status), last
    assert all(each[1] is Status.OK for each in before)
    run = judge(measurement, gpu_bench.settings.gates)
    assert words in last[2] or words in run.verdict.reason, run.verdict.reason
    assert (run.verdict.outcome, run.verdict.exit_code) == (outcome, exit_code)


def test_the_replicate_after_a_fault_starts_clean(gpu_bench):
    measure_candidate(gpu_bench, find_candidate("cuda_illegal_address", examples.ADVERSARIAL), (WORKLOAD,))
    measurement = measure_candidate(gpu_bench, find_candidate("cuda_honest", examples.ADVERSARIAL), (WORKLOAD,))
    assert measurement.evaluations[0].trial.status is Status.OK


def test_a_call_that_no_graph_can_hold_is_launched_directly_and_recorded_as_such(gpu_bench):
    name = "cuda_waits_for_the_device"
    (seen,) = measure_candidate(gpu_bench, find_candidate(name, examples.ADVERSARIAL), (WORKLOAD,)).evaluations
    assert [replicate.uncaptured for replicate in seen.trial.replicates] == [("candidate",)] * 2


def test_every_backend_names_the_kernels_it_really_runs(gpu_bench):
    (seen,) = measure_sdpa(gpu_bench, "all", (WORKLOAD,)).evaluations
    kernels = {trace.implementation: " ".join(trace.kernels) for trace in seen.traces}
    assert "flash" in kernels["sdpa:flash"]
    assert "cudnn" in kernels["sdpa:cudnn"]
    assert "fmha" in kernels["sdpa:efficient"]
    assert "gemm" in kernels["sdpa:math"]


def test_three_clocks_agree_on_a_kernel_of_some_length(gpu_bench):
    (seen,) = measure_sdpa(gpu_bench, "all", (Workload(32, 8, 512, 64),)).evaluations
    for trace in seen.traces:
        pair = seen.sdpa.replicates[0].clocks[trace.implementation.removeprefix("sdpa:")]
        assert pair.device_ms == pytest.approx(pair.host_ms, rel=0.1)
        assert pair.device_ms / pair.launches == pytest.approx(trace.kernel_ms, rel=0.1)


def test_the_environment_names_the_gpu_and_every_replicate_is_watched(gpu_bench):
    measurement = measure_candidate(gpu_bench, find_candidate("cuda_honest", examples.ADVERSARIAL), (WORKLOAD,))
    gpu = measurement.environment.gpu
    assert gpu.model == measurement.environment.device_name
    assert gpu.sm_count > 0
    replicates = measurement.evaluations[0].trial.replicates
    assert all(replicate.telemetry.after.sm_clock_mhz > 0 for replicate in replicates)


def test_a_time_below_what_the_device_can_do_is_no_record(gpu_bench):
    honest = find_candidate("cuda_honest", examples.ADVERSARIAL)
    measurement = measure_candidate(gpu_bench, honest, (WORKLOAD,))
    (seen,) = measurement.evaluations
    impossible = tuple(
        replace(each, times_ms=tuple((*times[:2], 1e-5, times[3]) for times in each.times_ms))
        for each in seen.trial.replicates
    )
    forged = replace(seen, trial=replace(seen.trial, replicates=impossible, median_ms={}))
    run = judge(replace(measurement, evaluations=(forged,)), gpu_bench.settings.gates)
    assert run.verdict.outcome is Outcome.REJECTED
    assert "the physical floor" in run.verdict.reason


def test_lines_that_a_kernel_made_persist_in_l2_are_reset_before_every_timing(monkeypatch):
    """What that is worth prints tests/benchmarks/persisting_l2.py: no test asserts a time."""
    device, resets = open_device("cuda"), []
    driver = SimpleNamespace(cuCtxResetPersistingL2Cache=lambda: resets.append(1))
    monkeypatch.setattr(device, "_driver", driver)
    memory = device.allocate(1 << 20)
    device.time(lambda: memory.add_(1), lambda: None)
    assert resets


@pytest.mark.parametrize("size", [1 << 10, 11 << 20, (99 << 20) + 3])
def test_what_another_process_maps_holds_nothing_else(size, tmp_path):
    device = open_device("cuda")
    device.reset_peak()
    shared, _ = device.share(size, tmp_path)
    others = [device.allocate(each << 20) for each in (1, 2, 15, 31)]
    address = shared.data_ptr()
    (segment,) = (each for each in torch.cuda.memory_snapshot() if each["address"] == address)
    assert len(segment["blocks"]) == 1
    assert not any(address <= each.data_ptr() < address + segment["total_size"] for each in others)


def test_drawn_inputs_owe_nothing_to_a_seed_that_a_candidate_may_set():
    device = open_device("cuda")
    first, second = (torch.empty(1 << 16, dtype=torch.float16, device=device.torch_device) for _ in range(2))
    for each in (first, second):
        torch.manual_seed(0)
        device.fill_unpredictable(each)
    assert not torch.equal(first, second)
    assert abs(float(first.float().std()) - 1) < 0.05


def test_a_function_is_timed_once_what_makes_its_inputs_is_done():
    device = open_device("cuda")
    torch.cuda._sleep(100_000_000)
    queued = torch.cuda.Event()
    queued.record()
    with own_device(device.torch_device):
        assert queued.query()
