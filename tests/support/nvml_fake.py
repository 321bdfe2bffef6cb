"""A stand-in for pynvml: a driver with GPUs that a test describes, and nothing of NVIDIA's underneath.

Install it with `FakeNvml(...).install(monkeypatch)`; a function whose name is in `errors` raises that NVML error.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import pytest

NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, UNKNOWN = 3, 4, 13, 999
NOT_LOADED, NO_LIBRARY, LOST, RESET_REQUIRED, MISMATCH = 9, 12, 15, 16, 18
NOT_FOUND, INVALID_ARGUMENT, UNINITIALIZED = 6, 2, 1


class NVMLError(Exception):
    """As pynvml's: `value` is the error's number."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass
class FakeGpu:
    """One GPU; an L4 that idles, unless a test says otherwise."""

    name: str = "NVIDIA L4"
    uuid: str = "GPU-5d2b1c44-0000-1111-2222-333344445555"
    capability: tuple[int, int] = (8, 9)
    memory_bytes: int = 23034 << 20
    clocks_mhz: tuple[int, int] = (210, 405)
    most_mhz: tuple[int, int] = (2040, 6251)
    default_mhz: int = 1590
    reasons: int = 0x1
    violations_ns: dict[int, int] = field(default_factory=lambda: dict.fromkeys((0, 1, 2, 3, 5), 0))
    temperature_c: int = 41
    ecc_errors: int = 0
    pids: tuple[int, ...] = ()
    mps_pids: tuple[int, ...] = ()
    recovery_action: int = 0
    mig: int = 0
    slices: tuple[str, ...] = ()
    locked_mhz: tuple[int, int] | None = None


class FakeNvml(types.ModuleType):
    """The module itself. `sessions` counts those that are open; NVML answers nothing where none is."""

    NVMLError = NVMLError

    def __init__(self, *gpus: FakeGpu) -> None:
        super().__init__("pynvml")
        self.__spec__ = ModuleSpec("pynvml", None)  # importlib.util.find_spec finds it, as an installed module
        self.gpus = gpus or (FakeGpu(),)
        self.errors: dict[str, int] = {}
        self.missing: set[str] = set()
        self.sessions = 0
        self.called: list[str] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
        monkeypatch.setitem(sys.modules, "pynvml", self)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answer = ANSWERS.get(name)
        if answer is None or name in self.missing:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.called.append(name)
            if name in self.errors:
                raise NVMLError(self.errors[name])
            if name != "nvmlInit" and not self.sessions:
                raise NVMLError(UNINITIALIZED)
            return answer(self, *arguments)

        return call

    def open(self) -> None:
        self.sessions += 1

    def close(self) -> None:
        self.sessions -= 1

    def at(self, index: int) -> FakeGpu:
        if not 0 <= index < len(self.gpus):
            raise NVMLError(INVALID_ARGUMENT)
        return self.gpus[index]

    def by_uuid(self, uuid: str) -> Any:
        for gpu in self.gpus:
            if uuid in gpu.slices:
                return SimpleNamespace(parent=gpu)
        raise NVMLError(NOT_FOUND)

    def violation(self, gpu: FakeGpu, policy: int) -> Any:
        if policy not in gpu.violations_ns:
            raise NVMLError(NOT_SUPPORTED)
        return SimpleNamespace(violationTime=gpu.violations_ns[policy])


def _processes(pids: tuple[int, ...]) -> list[Any]:
    return [SimpleNamespace(pid=pid) for pid in pids]


def _lock(gpu: FakeGpu, least: int, most: int) -> None:
    gpu.locked_mhz = (least, most)


def _unlock(gpu: FakeGpu) -> None:
    gpu.locked_mhz = None


def _field(gpu: FakeGpu, fields: list[int]) -> list[Any]:
    assert fields == [230]
    return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=gpu.recovery_action))]


ANSWERS: dict[str, Callable[..., Any]] = {
    "nvmlInit": FakeNvml.open,
    "nvmlShutdown": FakeNvml.close,
    "nvmlSystemGetDriverVersion": lambda nvml: "580.159.03",
    "nvmlDeviceGetCount": lambda nvml: len(nvml.gpus),
    "nvmlDeviceGetHandleByIndex": FakeNvml.at,
    "nvmlDeviceGetHandleByUUID": FakeNvml.by_uuid,
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": lambda nvml, slice_: slice_.parent,
    "nvmlDeviceGetIndex": lambda nvml, gpu: nvml.gpus.index(gpu),
    "nvmlDeviceGetName": lambda nvml, gpu: gpu.name,
    "nvmlDeviceGetUUID": lambda nvml, gpu: gpu.uuid,
    "nvmlDeviceGetCudaComputeCapability": lambda nvml, gpu: list(gpu.capability),
    "nvmlDeviceGetMemoryInfo": lambda nvml, gpu: SimpleNamespace(total=gpu.memory_bytes),
    "nvmlDeviceGetClockInfo": lambda nvml, gpu, kind: gpu.clocks_mhz[kind - 1],
    "nvmlDeviceGetMaxClockInfo": lambda nvml, gpu, kind: gpu.most_mhz[kind - 1],
    "nvmlDeviceGetClock": lambda nvml, gpu, kind, which: {(1, 2): gpu.default_mhz}[kind, which],
    "nvmlDeviceGetMemoryBusWidth": lambda nvml, gpu: 192,
    "nvmlDeviceGetEnforcedPowerLimit": lambda nvml, gpu: 72_000,
    "nvmlDeviceGetPowerUsage": lambda nvml, gpu: 16_500,
    "nvmlDeviceGetTemperature": lambda nvml, gpu, sensor: gpu.temperature_c,
    "nvmlDeviceGetEccMode": lambda nvml, gpu: [1, 0],
    "nvmlDeviceGetMigMode": lambda nvml, gpu: [gpu.mig, 1 - gpu.mig],
    "nvmlDeviceGetPersistenceMode": lambda nvml, gpu: 1,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda nvml, gpu: gpu.reasons,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda nvml, gpu: gpu.reasons,
    "nvmlDeviceGetViolationStatus": FakeNvml.violation,
    "nvmlDeviceGetTotalEccErrors": lambda nvml, gpu, kind, counter: {(1, 0): gpu.ecc_errors}[kind, counter],
    "nvmlDeviceGetComputeRunningProcesses": lambda nvml, gpu: _processes(gpu.pids),
    "nvmlDeviceGetMPSComputeRunningProcesses": lambda nvml, gpu: _processes(gpu.mps_pids),
    "nvmlDeviceGetFieldValues": lambda nvml, gpu, fields: _field(gpu, fields),
    "nvmlDeviceSetGpuLockedClocks": lambda nvml, gpu, least, most: _lock(gpu, least, most),
    "nvmlDeviceResetGpuLockedClocks": lambda nvml, gpu: _unlock(gpu),
}
