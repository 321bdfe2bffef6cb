"""What the shared options become."""

import pytest

from scripts import options
from tests.nvml_fake import FakeNvml


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setattr("gate.gpu_lock.lock_folder", lambda: tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return FakeNvml().install(monkeypatch)


@pytest.mark.parametrize("asked", [False, True])
def test_clocks_are_held_only_for_who_asks_and_given_back(gpu, asked):
    with options.own_gpu(asked) as look:
        assert (gpu.gpus[0].locked_mhz is not None) is asked
        assert look().sm_clock_mhz is not None
    assert gpu.gpus[0].locked_mhz is None


def test_the_gpu_is_ours_alone_while_we_measure(gpu, tmp_path):
    with options.own_gpu(False):
        (lock,) = tmp_path.iterdir()
        assert lock.name.startswith("kernel-gate-")
    assert gpu.sessions == 0
