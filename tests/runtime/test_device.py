import contextlib
from types import SimpleNamespace

import pytest
import torch

import gate.runtime.device
from gate.errors import BadInputError, UnfitEnvironmentError
from gate.notebook.in_process import own_device
from gate.runtime.device import choose_device, open_device
from gate.runtime.device.cuda import whole_segment


@pytest.fixture(scope="module")
def cpu():
    return open_device("cpu")


def test_the_cpu_is_always_there(cpu):
    assert cpu.kind == "cpu"
    assert cpu.name


def test_cuda_without_a_gpu_is_an_unfit_machine(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnfitEnvironmentError, match="doctor --device cuda"):
        open_device("cuda")


def test_a_timed_launch_runs_once_and_hands_back_its_output(cpu):
    calls = []
    out = torch.zeros(1)

    def launch() -> torch.Tensor:
        calls.append(1)
        return out

    elapsed, output = cpu.time(cpu.capture(launch).launch, lambda: calls.append(0))
    assert calls == [0, 1]  # prepared, then run
    assert torch.equal(output, out)
    assert elapsed > 0


def test_what_is_written_after_the_clock_stopped_is_not_in_the_output(cpu):
    """A thread of the candidate's might go on."""
    out = torch.zeros(1)
    _, output = cpu.time(lambda: out, lambda: None)
    out.fill_(1.0)
    assert output == 0


def test_the_clock_reads_milliseconds(cpu, monkeypatch):
    ticks = iter([5_000_000, 7_500_000])
    monkeypatch.setattr("time.perf_counter_ns", lambda: next(ticks))
    assert cpu.time(lambda: torch.zeros(1), lambda: None)[0] == 2.5


def test_a_flush_touches_more_than_the_caches_hold(cpu, monkeypatch):
    from gate.runtime.device.cpu import CpuDevice

    monkeypatch.setattr("gate.runtime.device.cpu.l2_bytes", lambda: 1 << 20)
    scratch = CpuDevice()._scratch
    assert scratch.numel() * scratch.element_size() >= 2 * (1 << 20) * torch.get_num_threads()


def test_every_timing_starts_from_a_flushed_cache(cpu):
    before = cpu._scratch[-1].item()
    seen = []
    cpu.time(lambda: seen.append(cpu._scratch[-1].item()) or torch.zeros(1), lambda: None)
    assert seen == [before + 1]


def test_allocated_memory_is_bytes_on_the_device(cpu):
    memory = cpu.allocate(100)
    assert (memory.dtype, memory.numel(), memory.device.type) == (torch.uint8, 100, "cpu")


def test_peak_memory_covers_what_is_held(cpu):
    held = torch.ones(4 << 20, dtype=torch.uint8)
    assert cpu.peak_bytes() > held.numel()


def test_a_device_without_a_clock_of_its_own_has_none_to_cross_check(cpu):
    assert cpu.time_batch(lambda: torch.zeros(1), 10) is None


def test_the_empty_launch_does_nothing(cpu):
    assert cpu.empty_launch()() is None


@pytest.mark.parametrize(
    ("wanted", "possible", "gpu", "chosen"),
    [
        ("auto", ("cuda", "cpu"), True, "cuda"),
        ("auto", ("cuda", "cpu"), False, "cpu"),
        ("auto", ("cpu",), True, "cpu"),
        ("auto", ("cuda",), False, "cuda"),
        ("cpu", ("cuda", "cpu"), True, "cpu"),
        ("cuda", ("cuda", "cpu"), False, "cuda"),
    ],
)
def test_auto_takes_cuda_where_there_is_one_and_the_candidate_can(wanted, possible, gpu, chosen, monkeypatch):
    monkeypatch.setattr(gate.runtime.device, "_has_nvidia_gpu", lambda: gpu)
    assert choose_device(wanted, possible) == chosen


def test_a_device_that_the_candidate_does_not_run_on_is_bad_input():
    with pytest.raises(BadInputError, match="--device cpu"):
        choose_device("cuda", ("cpu",))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_drawn_values_are_normal(cpu, dtype):
    drawn = torch.empty(3, 50_000, dtype=dtype)
    cpu.fill_unpredictable(drawn)
    assert abs(float(drawn.double().mean())) < 0.02
    assert abs(float(drawn.double().std()) - 1) < 0.02


def test_drawn_values_follow_from_all_of_a_seed_of_256_bits(cpu, monkeypatch):
    """torch's own generator takes the lowest 32: two seeds that share them would draw the same."""
    asked, seeds = [], iter([1, 1 + 2**200, 1])
    monkeypatch.setattr("secrets.randbits", lambda bits: asked.append(bits) or next(seeds))
    first, other, again = (torch.empty(100) for _ in range(3))
    for each in (first, other, again):
        cpu.fill_unpredictable(each)
    assert asked == [256] * 3  # another seed for every drawing
    assert not torch.equal(first, other)
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    ("size", "taken"), [(1, 32 << 20), (32 << 20, 32 << 20), ((32 << 20) + 1, 34 << 20), (99 << 20, 100 << 20)]
)
def test_what_is_shared_on_a_gpu_fills_a_segment_of_its_own(size, taken):
    assert whole_segment(size) == taken


@pytest.fixture
def gpu(monkeypatch):
    """A stand-in for the CUDA device on cuda:0, and for torch's streams; what is called, in order."""
    called = []
    device = SimpleNamespace(
        stream=7, torch_device=torch.device("cuda", 0), synchronize=lambda: called.append("wait"), called=called
    )
    monkeypatch.setattr("gate.notebook.in_process.open_device", lambda kind: device)
    monkeypatch.setattr("torch.cuda.device", lambda torch_device: contextlib.nullcontext())
    monkeypatch.setattr("torch.cuda.current_stream", lambda: "the caller's")
    monkeypatch.setattr("torch.cuda.ExternalStream", lambda pointer: "the device's")
    monkeypatch.setattr("torch.cuda.set_stream", called.append)
    return device


def test_a_stream_is_taken_once_what_the_caller_queued_is_done_and_given_back_after_the_last_work(gpu):
    with own_device(torch.device("cuda", 0)) as device:
        assert device is gpu
        assert gpu.called == ["wait", "the device's"]
    assert gpu.called[2:] == ["wait", "the caller's"]


def test_tensors_on_another_gpu_than_the_one_that_is_timed_are_bad_input(gpu):
    with pytest.raises(BadInputError, match="cuda:1, but this process times on cuda:0"):
        own_device(torch.device("cuda", 1)).__enter__()
    assert gpu.called == []
