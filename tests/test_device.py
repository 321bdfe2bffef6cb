import pytest
import torch

import gate.device
from gate.device import choose_device, open_device
from gate.errors import BadInputError, UnfitEnvironmentError


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
    from gate.device.cpu import CpuDevice

    monkeypatch.setattr("gate.device.cpu.l2_bytes", lambda: 1 << 20)
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
    monkeypatch.setattr(gate.device, "_has_nvidia_gpu", lambda: gpu)
    assert choose_device(wanted, possible) == chosen


def test_a_device_that_the_candidate_does_not_run_on_is_bad_input():
    with pytest.raises(BadInputError, match="--device cpu"):
        choose_device("cuda", ("cpu",))
