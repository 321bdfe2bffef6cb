"""What `doctor` says of a machine. Its GPU only pretends."""

import os
from importlib.machinery import ModuleSpec

import pytest

from gate.doctor import gpu as doctor_gpu
from gate.doctor.host import examine
from gate.report.machine import doctor_table
from gate.sandbox import external_tool
from tests.support import nvml_fake
from tests.support.nvml_fake import FakeGpu, FakeNvml


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A healthy L4 on a machine where everyone may read its counters."""
    monkeypatch.setattr(external_tool, "PARAMETERS", tmp_path / "params")
    monkeypatch.setattr("gate.machine.nvml._pids_are_the_hosts", lambda: True)
    monkeypatch.setattr(doctor_gpu, "_is_admin", lambda: False)
    allow(tmp_path, "0")
    return FakeNvml().install(monkeypatch)


def allow(folder, admins_only):
    (folder / "params").write_text(f"ResmanDebugLevel: 4294967295\nRmProfilingAdminOnly: {admins_only}\nEmpty:\n")


def findings(device="cuda"):
    return {finding.item: finding for finding in examine(device)}


def test_a_healthy_gpu_has_nothing_to_mend(gpu):
    about_gpu = doctor_gpu.gpu_findings("cuda")
    assert [finding.item for finding in about_gpu if not finding.present] == []


@pytest.mark.parametrize(
    ("item", "seen"),
    [
        ("NVIDIA GPU", "NVIDIA L4"),
        ("driver", "580.159.03"),
        ("compute capability", "8.9"),
        ("clocks", "SM 210 of 2040 MHz, memory 405 of 6251 MHz"),
        ("not throttled", "gpu_idle"),
        ("temperature", "41 °C"),
        ("ECC", "on"),
        ("memory errors", "0 uncorrected"),
        ("GPU to itself", "no other process"),
        ("persistence mode", "on"),
        ("whole GPU (MIG off)", "whole"),
        ("GPU healthy", "no recovery needed"),
        ("hardware counters permitted", "everyone may"),
    ],
)
def test_what_is_seen_of_a_gpu_is_told(item, seen, gpu):
    assert findings()[item].evidence == seen


FAULTS = {
    "not throttled": ({"reasons": 0x40 | 0x4}, "sw_power_cap, hw_thermal_slowdown", "cooling"),
    "temperature": ({"temperature_c": 81}, "81 °C", "80 °C"),
    "memory errors": ({"ecc_errors": 2}, "2 uncorrected", "reset"),
    "GPU to itself": ({"pids": (1, 2)}, "2 other processes", "nvidia-smi"),
    "GPU healthy": ({"recovery_action": 2}, "node_reboot", "node_reboot"),
    "whole GPU (MIG off)": ({"mig": 1}, "a MIG slice", "-mig 0"),
    "compute capability": ({"capability": (7, 5)}, "7.5", "8.0"),
}


@pytest.mark.parametrize("item", FAULTS)
def test_a_fault_is_told_with_its_remedy_and_no_other(item, gpu):
    changes, seen, remedy = FAULTS[item]
    gpu.gpus = (FakeGpu(**changes),)
    told = {finding.item: finding for finding in doctor_gpu.gpu_findings("cuda")}
    assert not told[item].present
    assert seen in told[item].evidence
    assert remedy in told[item].remedy
    assert [each for each, finding in told.items() if not finding.present] == [item]


def test_a_gpu_at_its_power_limit_is_not_at_fault(gpu):
    gpu.gpus[0].reasons = 0x4
    assert findings()["not throttled"].present


def test_a_gpu_whose_throttle_reasons_are_unknown_is_not_called_unthrottled(gpu):
    for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        gpu.errors[name] = nvml_fake.NOT_SUPPORTED
    told = findings()
    assert not told["not throttled"].present
    assert "throttle_reasons" in told["driver reports telemetry"].evidence


@pytest.mark.parametrize(("driver", "recent"), [("525.60.13", True), ("520.61.05", False), ("unknown", False)])
def test_an_old_driver_is_told(driver, recent, gpu, monkeypatch):
    monkeypatch.setitem(nvml_fake.ANSWERS, "nvmlSystemGetDriverVersion", lambda nvml: driver)
    assert findings()["driver"].present == recent


@pytest.mark.parametrize(
    ("function", "item", "ok"),
    [
        ("nvmlDeviceGetTemperature", "temperature", False),
        ("nvmlDeviceGetClockInfo", "clocks", False),
        ("nvmlSystemGetDriverVersion", "driver", False),
        ("nvmlDeviceGetComputeRunningProcesses", "GPU to itself", False),
        ("nvmlDeviceGetViolationStatus", "driver reports telemetry", False),
        ("nvmlDeviceGetTotalEccErrors", "driver reports telemetry", True),
        ("nvmlDeviceGetEccMode", "ECC", True),
        ("nvmlDeviceGetTotalEccErrors", "memory errors", True),
        ("nvmlDeviceGetMigMode", "whole GPU (MIG off)", True),
        ("nvmlDeviceGetPersistenceMode", "persistence mode", True),
    ],
)
def test_what_the_driver_does_not_tell_is_a_fault_only_where_it_matters(function, item, ok, gpu):
    gpu.errors[function] = nvml_fake.NOT_SUPPORTED
    assert findings()[item].present == ok


@pytest.mark.parametrize(
    ("admins_only", "admin", "permitted"), [("0", False, True), ("1", False, False), ("1", True, True)]
)
def test_counters_are_for_everyone_or_for_administrators(admins_only, admin, permitted, gpu, tmp_path, monkeypatch):
    allow(tmp_path, admins_only)
    monkeypatch.setattr(doctor_gpu, "_is_admin", lambda: admin)
    seen = findings()["hardware counters permitted"]
    assert seen.present == permitted
    assert "NVreg_RestrictProfilingToAdminUsers=0" in seen.remedy


def test_counters_whose_permission_cannot_be_read_are_not_promised(gpu, tmp_path):
    (tmp_path / "params").unlink()
    assert not findings()["hardware counters permitted"].present


@pytest.mark.parametrize(
    ("held", "admin"), [("000001ffffffffff", True), ("200000", True), ("1fffff", False), ("0", False)]
)
def test_root_in_a_container_without_the_capability_is_no_administrator(held, admin, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_gpu, "STATUS", tmp_path / "status")
    (tmp_path / "status").write_text(f"Name:\tpython\nCapEff:\t{held}\n")
    assert doctor_gpu._is_admin() == admin


@pytest.mark.parametrize(("device", "needed"), [("cuda", True), ("cpu", False)])
def test_without_a_driver_a_gpu_is_missing_and_needed_for_cuda_alone(device, needed, gpu):
    gpu.errors["nvmlInit"] = nvml_fake.NO_LIBRARY
    (found,) = doctor_gpu.gpu_findings(device)
    assert (found.item, found.present, found.needed) == ("NVIDIA GPU", False, needed)
    assert "--device cpu" in found.remedy


def test_a_gpu_that_was_lost_is_told_with_its_remedy(gpu):
    gpu.errors["nvmlDeviceGetClockInfo"] = nvml_fake.LOST
    said = findings()["GPU answers"]
    assert not said.present
    assert "lost" in said.evidence
    assert said.remedy == "reboot the machine"
    assert said.needed


def test_the_programs_for_cuda_are_looked_for(gpu):
    items = " ".join(findings())
    assert all(name in items for name in ("nvcc", "ninja", "ncu"))
    assert findings("cuda")["nvcc (CUDA candidates)"].needed
    assert not findings("cpu")["nvcc (CUDA candidates)"].needed


def test_the_needed_comes_first(gpu):
    needed = [finding.needed for finding in examine("cuda")]
    assert needed == sorted(needed, reverse=True)


def test_the_table_shows_the_remedy_only_where_something_is_wrong(gpu):
    gpu.gpus[0].temperature_c = 95
    lines = doctor_table(examine("cuda")).splitlines()
    assert any("95 °C" in line and "let it cool" in line for line in lines)
    assert not any("580.159.03" in line and "install driver" in line for line in lines)


def test_the_command_says_what_is_missing(kernel_gate, gpu):
    gpu.errors["nvmlInit"] = nvml_fake.NO_LIBRARY
    answer = kernel_gate("doctor", "--device", "cuda")
    assert answer.code == 69
    assert "NVIDIA GPU" in answer.complaint


def test_no_session_is_left_open(gpu):
    examine("cuda")
    assert gpu.sessions == 0
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None


@pytest.mark.parametrize(("toolkit", "present"), [("'13.0'", True), ("None", False)])
def test_torch_must_be_a_build_for_gpus(toolkit, present, gpu, monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text(f"cuda = {toolkit}\n")
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "torch" / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    found = findings()["torch for GPUs"]
    assert (found.present, found.needed) == (present, True)
    assert "torch for GPUs" not in findings("cpu")
