"""The flags and clocks locked for a measurement, and that all of them are restored."""

import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from gate import lock_environment
from gate.errors import UnfitEnvironmentError
from gate.machine.clock_lock import ClockLock
from gate.machine.determinism import current_flags
from tests.support import nvml_fake
from tests.support.nvml_fake import FakeNvml

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
LOCKED = {
    "matmul_precision": "ieee",
    "cudnn_precision": "ieee",
    "deterministic_algorithms": True,
    "cudnn_deterministic": True,
    "cudnn_benchmark": False,
    "cublas_workspace_config": ":4096:8",
}


def everything():
    """All that a lock may touch, as it is now."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        **current_flags(),
        "conv": cudnn.conv.fp32_precision if hasattr(cudnn, "conv") else None,
        "rnn": cudnn.rnn.fp32_precision if hasattr(cudnn, "rnn") else None,
        "allow_tf32": (matmul.allow_tf32, cudnn.allow_tf32),
        "lenient": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,
        "cublas": os.environ.get(CUBLAS),
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
    }


def drawn():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.fixture(autouse=True)
def untouched():
    """No test here may leave anything behind."""
    before = everything()
    yield
    assert everything() == before


def test_within_its_context_everything_is_locked():
    with lock_environment() as locked:
        assert current_flags() == locked.flags == LOCKED
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)


def test_attention_of_cudnn_stays_available_and_allocation_costs_no_kernel():
    with lock_environment():
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory


def test_leaving_the_context_restores_everything():
    before = everything()
    with lock_environment(seed=7):
        drawn()
        assert everything() != before
    assert everything() == before


def test_an_exception_restores_everything():
    before = everything()
    with pytest.raises(RuntimeError), lock_environment():
        raise RuntimeError
    assert everything() == before


@pytest.mark.parametrize("strict", [True, False])
def test_the_users_own_flags_are_restored(strict, monkeypatch):
    monkeypatch.setenv(CUBLAS, ":16:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    try:
        before = everything()
        with lock_environment():
            assert current_flags() == LOCKED
        assert everything() == before
    finally:
        torch.use_deterministic_algorithms(False)


NEW_NAMES = """
import torch
from gate.machine.determinism import lock_environment
cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
matmul.fp32_precision = "tf32"
cudnn.conv.fp32_precision = "ieee"
with lock_environment():
    assert (matmul.fp32_precision, cudnn.rnn.fp32_precision) == ("ieee", "ieee")
assert (matmul.fp32_precision, cudnn.fp32_precision) == ("tf32", "none")
assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("ieee", "tf32")
"""


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="PyTorch before 2.9 has only the older names")
def test_precision_set_by_its_newer_name_is_restored():
    subprocess.run([sys.executable, "-W", "error", "-c", NEW_NAMES], check=True)


def test_locks_nest():
    before = everything()
    with lock_environment(seed=1):
        within = everything()
        with lock_environment(seed=2):
            drawn()
        assert everything() == within
    assert everything() == before


def test_the_same_seed_draws_the_same_numbers():
    with lock_environment(seed=3):
        first = drawn()
    with lock_environment(seed=3):
        assert drawn() == first
    with lock_environment(seed=4):
        assert drawn() != first


def test_a_plain_call_locks_from_then_on():
    locked = lock_environment()
    try:
        assert current_flags() == LOCKED
    finally:
        locked.__exit__(None, None, None)


def test_a_failure_restores_what_was_locked_before_it(monkeypatch):
    before = everything()
    with pytest.raises((TypeError, ValueError)):
        lock_environment(seed="not a number")
    assert everything() == before


@pytest.fixture
def root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def gpu(monkeypatch):
    """A fake GPU: no test may change the clocks of a real one."""
    return FakeNvml().install(monkeypatch)


@pytest.fixture
def handlers():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield lambda: [signal.getsignal(number) for number in numbers] == before
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("asked", "locked"), [(1200, 1200), (None, 1590)])
def test_clocks_are_locked_within_the_context_alone(asked, locked, gpu, root, handlers):
    with ClockLock(0, asked) as lock:
        assert gpu.gpus[0].locked_mhz == (locked, locked)
        assert lock.sm_clock_mhz == locked
        assert not handlers()
    assert gpu.gpus[0].locked_mhz is None
    assert handlers()


def test_without_a_default_clock_the_highest_is_locked(gpu, root):
    gpu.errors["nvmlDeviceGetClock"] = nvml_fake.NOT_SUPPORTED
    with ClockLock(0):
        assert gpu.gpus[0].locked_mhz == (2040, 2040)


def test_clocks_are_unlocked_after_an_exception(gpu, root, handlers):
    with pytest.raises(RuntimeError), ClockLock(0):
        raise RuntimeError
    assert gpu.gpus[0].locked_mhz is None
    assert handlers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_clocks_are_unlocked_before_the_former_signal_handler_runs(number, gpu, root, handlers):
    heard = []
    signal.signal(number, lambda *_: heard.append(gpu.gpus[0].locked_mhz))
    with ClockLock(0):
        signal.raise_signal(number)
        assert heard == [None]
    assert heard == [None]


def test_interrupting_is_still_an_interrupt(gpu, root, handlers):
    with pytest.raises(KeyboardInterrupt), ClockLock(0):
        signal.raise_signal(signal.SIGINT)
    assert gpu.gpus[0].locked_mhz is None


def test_a_signal_that_is_ignored_as_under_nohup_leaves_the_clocks_locked(gpu, root, handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ClockLock(0):
        signal.raise_signal(signal.SIGHUP)
        assert gpu.gpus[0].locked_mhz is not None
    assert gpu.gpus[0].locked_mhz is None


TERMINATED = """
import os, signal, sys
from gate.machine.clock_lock import ClockLock
from tests.support.nvml_fake import FakeGpu, FakeNvml
os.geteuid = lambda: 0
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
sys.modules["pynvml"] = nvml = FakeNvml(FakeGpu())
unlock = nvml.nvmlDeviceResetGpuLockedClocks
nvml.nvmlDeviceResetGpuLockedClocks = lambda gpu: (print("given back", flush=True), unlock(gpu))
with ClockLock(0):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_ended_by_a_signal_unlocks_the_clocks_and_still_ends_by_that_signal(number):
    with subprocess.Popen(
        [sys.executable, "-c", TERMINATED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        process.send_signal(number)
        assert process.stdout.read() == "given back\n"
    assert process.returncode == -number


def test_only_root_may_lock_clocks(gpu, monkeypatch, handlers):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnfitEnvironmentError, match="needs root"), ClockLock(0):
        pytest.fail("locked")
    assert gpu.called == []
    assert handlers()


@pytest.mark.parametrize("error", [nvml_fake.NO_PERMISSION, nvml_fake.NOT_SUPPORTED, nvml_fake.LOST])
def test_clocks_that_cannot_be_locked_make_the_machine_unfit(error, gpu, root, handlers):
    gpu.errors.update(nvmlDeviceSetGpuLockedClocks=error, nvmlDeviceResetGpuLockedClocks=error)
    with pytest.raises(UnfitEnvironmentError), ClockLock(0):
        pytest.fail("not locked")
    assert handlers()


def test_clocks_are_not_locked_if_no_signal_handler_could_unlock_them(gpu, root):
    said = []

    def enter():
        try:
            with ClockLock(0):
                said.append("locked")
        except ValueError as error:
            said.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(said) == 1
    assert "main thread" in said[0]
    assert gpu.gpus[0].locked_mhz is None
