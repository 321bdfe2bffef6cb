"""A workload too large for the machine is a bad request, and never a fault of the candidate."""

import pytest

from gate.errors import BadInputError
from gate.machine import capacity
from gate.machine.capacity import min_bytes, require_enough_memory
from gate.records import Workload
from tests.support import examples
from tests.support.nvml_fake import FakeGpu, FakeNvml

HUGE = Workload(100_000, 100_000, 1024, 64, "float16")
GB = 1 << 30


def refuse(workload, device="cpu", checked=True, **limits):
    require_enough_memory([workload], device, examples.limits(**limits), checked=checked)


def test_a_workload_beyond_this_machine_is_refused_with_what_it_needs(monkeypatch):
    monkeypatch.setattr(capacity, "memory_bytes", lambda: 16 * GB)
    with pytest.raises(BadInputError, match=r"needs at least .* GB, but this machine has 16\.0 GB; choose a smaller"):
        refuse(HUGE)


def test_a_workload_beyond_the_limit_alone_names_the_limit(monkeypatch):
    monkeypatch.setattr(capacity, "memory_bytes", lambda: 1000 * GB)
    with pytest.raises(BadInputError, match=r"limits\.memory_mb allows 8\.0 GB"):
        refuse(Workload(64, 64, 8192, 64, "float32"), memory_mb=8192)
    refuse(Workload(64, 64, 8192, 64, "float32"), memory_mb=100 << 10)


def test_a_check_needs_memory_for_one_heads_score_matrix():
    long = Workload(1, 1, 100_000, 64, "float32")
    assert min_bytes(long, checked=True) - min_bytes(long, checked=False) == 16 * 100_000**2
    refuse(long, checked=False)
    with pytest.raises(BadInputError):
        refuse(long)


def test_on_a_gpu_its_own_memory_counts_and_not_the_hosts(monkeypatch):
    FakeNvml(FakeGpu(memory_bytes=24 * GB)).install(monkeypatch)
    monkeypatch.setattr(capacity, "memory_bytes", lambda: GB)
    refuse(Workload(32, 8, 1024, 64, "float16"), "cuda", memory_mb=1)
    with pytest.raises(BadInputError, match=r"this GPU has 24\.0 GB"):
        refuse(Workload(512, 64, 4096, 64, "float16"), "cuda")


def test_without_a_driver_only_a_workload_larger_than_any_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(capacity, "_gpu_bytes", lambda: None)
    refuse(Workload(512, 64, 4096, 64, "float16"), "cuda")
    with pytest.raises(BadInputError, match="no GPU has more"):
        refuse(HUGE, "cuda")


COMMANDS = {
    "run": ("run", "--impl", "python_honest"),
    "measure-candidate": ("measure-candidate", "--impl", "python_honest"),
    "measure-sdpa": ("measure-sdpa",),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_that_measures_refuses_a_workload_too_large_for_the_machine(command, kernel_gate, tmp_path):
    folder = ("--kernels", examples.ADVERSARIAL) if "--impl" in command else ()
    said = kernel_gate(
        *command, *folder, "--device", "cpu", "--shape", "100000,100000,1024,64", "--out", tmp_path / "x"
    )
    assert said.code == 64
    assert "GB" in said.complaint


def test_fuzz_refuses_a_matrix_that_cannot_be_held(kernel_gate):
    asked = "fuzz", "--impl", "python_honest", "--kernels", examples.ADVERSARIAL, "--device", "cpu"
    said = kernel_gate(*asked, "--set", "fuzz.small.seq_len=[1000000]")
    assert said.code == 64
    assert "1000000" in said.complaint
