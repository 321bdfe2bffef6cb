"""Diagnoses this machine's GPU: what it cannot do, and how to fix it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gate.errors import UnfitEnvironmentError
from gate.machine import nvml
from gate.records.diagnosis import Finding
from gate.records.gpu import HOT_C, Gpu, GpuState
from gate.sandbox import external_tool

STATUS = Path("/proc/self/status")
CAP_SYS_ADMIN = 1 << 21  # linux/capability.h
MIN_DRIVER = 525  # the first that runs CUDA 12, which PyTorch is built for
MIN_CAPABILITY = (8, 0)
UNKNOWN = "the driver does not report it"


def gpu_findings(device: str) -> list[Finding]:
    """Findings about the GPU that a measurement would use; they are `needed` if `device` is cuda."""
    names = nvml.gpu_names()
    remedy = "install the NVIDIA driver (`nvidia-smi` must list a GPU); without a GPU, use --device cpu"
    found = Finding("NVIDIA GPU", bool(names), ", ".join(names) or "none", remedy, needed=device == "cuda")
    return [found, *(_state(device) if names else [])]


def _state(device: str) -> list[Finding]:
    try:
        with nvml.initialised():
            index = nvml.visible_index()
            gpu, now = nvml.describe_gpu(index), nvml.read_telemetry(index)
    except UnfitEnvironmentError as error:
        fault, _, remedy = str(error).partition("; ")
        return [Finding("GPU answers", False, fault, remedy, needed=device == "cuda")]
    about_gpu = [finding(gpu) for finding in ABOUT_GPU]
    return [*about_gpu, *(finding(now) for finding in ABOUT_NOW), _counters()]


def _driver(gpu: Gpu) -> Finding:
    major = (gpu.driver or "").partition(".")[0]
    recent = major.isdecimal() and int(major) >= MIN_DRIVER
    return Finding("driver", recent, gpu.driver or UNKNOWN, f"install driver {MIN_DRIVER} or later")


def _capability(gpu: Gpu) -> Finding:
    least = ".".join(map(str, MIN_CAPABILITY))
    remedy = f"flash attention and the tensor-core candidates need {least}; use a scalar candidate, or another GPU"
    return Finding("compute capability", gpu.capability >= MIN_CAPABILITY, gpu.compute_capability, remedy)


def _whole(gpu: Gpu) -> Finding:
    remedy = "a MIG slice has a part of the bandwidth only; run `nvidia-smi -mig 0` (root) to use the whole GPU"
    return Finding("whole GPU (MIG off)", not gpu.mig, "a MIG slice" if gpu.mig else "whole", remedy)


def _persistence(gpu: Gpu) -> Finding:
    remedy = "run `nvidia-smi -pm 1` (root); otherwise the driver initialises the GPU again for every run"
    return Finding("persistence mode", gpu.persistence is not False, _word(gpu.persistence), remedy)


def _clocks(gpu: Gpu) -> Finding:
    seen = (
        f"SM {_of(gpu.sm_clock_mhz, gpu.sm_clock_max_mhz)} MHz, "
        f"memory {_of(gpu.memory_clock_mhz, gpu.memory_clock_max_mhz)} MHz"
    )
    known = None not in (gpu.sm_clock_mhz, gpu.sm_clock_max_mhz)
    return Finding("clocks", known, seen, "update the driver; without clocks, a slow GPU looks like a slow kernel")


def _of(now: int | None, most: int | None) -> str:
    return f"{'?' if now is None else now} of {'?' if most is None else most}"


def _throttling(now: GpuState) -> Finding:
    known = now.throttle_reasons is not None
    seen = ", ".join(now.throttle_reasons or ()) or ("not at all" if known else UNKNOWN)
    remedy = "improve cooling or power supply, or wait; `nvidia-smi -q -d PERFORMANCE` lists the causes"
    return Finding("not throttled", known and not now.slowed_by, seen, remedy)


def _temperature(now: GpuState) -> Finding:
    known = now.temperature_c is not None
    cool = now.temperature_c is not None and now.temperature_c <= HOT_C
    seen = f"{now.temperature_c} °C" if known else UNKNOWN
    return Finding("temperature", cool, seen, f"let it cool below {HOT_C} °C before measuring")


def _ecc(gpu: Gpu) -> Finding:
    return Finding("ECC", True, _word(gpu.ecc), "")  # on or off are both fine, and many GPUs have none


def _errors(now: GpuState) -> Finding:
    seen = "not counted" if now.ecc_errors is None else f"{now.ecc_errors} uncorrected"
    return Finding("memory errors", not now.ecc_errors, seen, "reset the GPU; replace it if they come back")


def _tenancy(now: GpuState) -> Finding:
    count = now.foreign_processes
    others = "no other process" if count == 0 else f"{count} other process{'es' if count != 1 else ''}"
    seen = UNKNOWN if count is None else others
    return Finding("GPU to itself", count == 0, seen, "end the other processes that use it; `nvidia-smi` lists them")


def _telling(now: GpuState) -> Finding:
    """Whether the driver reports all telemetry. ECC errors are left out: many GPUs have no ECC."""
    absent = ", ".join(name for name in now.unmeasured if name != "ecc_errors")
    remedy = "without these a verdict is undecided; accept them by name in gate.toml (gates.accept_unmeasured)"
    return Finding("driver reports telemetry", not absent, f"not {absent}" if absent else "all of it", remedy)


def _recovery(now: GpuState) -> Finding:
    action = now.needs
    remedy = f"carry out the recovery action that the driver reports ({action}) before measuring" if action else ""
    return Finding("GPU healthy", action is None, action or "no recovery needed", remedy)


def _word(on: bool | None) -> str:
    return UNKNOWN if on is None else "on" if on else "off"


ABOUT_GPU: tuple[Callable[[Gpu], Finding], ...] = (_driver, _capability, _whole, _persistence, _clocks, _ecc)
ABOUT_NOW: tuple[Callable[[GpuState], Finding], ...] = (
    _throttling, _temperature, _errors, _tenancy, _recovery, _telling,
)  # fmt: skip


def _counters() -> Finding:
    """Whether this user may read the hardware counters with Nsight Compute."""
    for_all = external_tool.parameter("RmProfilingAdminOnly")
    allowed = for_all == "0" or _is_admin()
    unknown = f"no {external_tool.PARAMETERS}"
    seen = {"0": "everyone may", "1": "administrators only", None: unknown}.get(for_all, f"{for_all}")
    remedy = (
        "put `options nvidia NVreg_RestrictProfilingToAdminUsers=0` into /etc/modprobe.d/ and reboot, "
        "or run as root (in a container: with --cap-add SYS_ADMIN)"
    )
    return Finding("hardware counters permitted", allowed, seen, remedy)


def _is_admin() -> bool:
    """Whether this process has the capability that the driver checks; root in a container may lack it."""
    lines = STATUS.read_text().splitlines()
    held = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) & CAP_SYS_ADMIN)
