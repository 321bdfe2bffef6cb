"""GPU properties and telemetry from the NVIDIA driver. The only module that uses pynvml. No torch, no CUDA context.

NVML does not survive a fork: initialise it in the process that queries it, never in one that forks afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gate.errors import UnfitEnvironmentError
from gate.machine import nvml_constants as numbers
from gate.records.gpu import Gpu, GpuState

UUID_HASH_DIGITS = 16
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of linux/proc_ns.h


@contextlib.contextmanager
def initialised() -> Iterator[None]:
    """Initialises NVML. Contexts nest, and an inner one costs almost nothing. Raises UnfitEnvironmentError."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _unfit(error) from error
    try:
        yield
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def gpu_names() -> list[str]:
    """The models of the GPUs that CUDA_VISIBLE_DEVICES leaves visible; empty without a driver."""
    try:
        with initialised():
            return [str(_require("nvmlDeviceGetName", _handle(index))) for index in _visible_indices()]
    except UnfitEnvironmentError:
        return []


def visible_index() -> int:
    """NVML's index of CUDA's first device. Raises UnfitEnvironmentError if no GPU is visible.

    CUDA and NVML number the GPUs alike under CUDA_DEVICE_ORDER=PCI_BUS_ID; otherwise the numbers may differ on a
    machine with GPUs of different models.
    """
    with initialised():
        indices = _visible_indices()
    if not indices:
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
        reason = "NVML finds no GPU" if wanted is None else f"CUDA_VISIBLE_DEVICES={wanted} leaves no GPU visible"
        raise UnfitEnvironmentError(f"{reason}; list the GPUs with `nvidia-smi -L`, or use --device cpu")
    return indices[0]


def describe_gpu(index: int) -> Gpu:
    """A GPU's properties from NVML; sm_count, l2_bytes, cuda, cudnn and triton stay empty.

    Raises UnfitEnvironmentError.
    """
    with initialised():
        handle = _handle(index)
        major, minor = _require("nvmlDeviceGetCudaComputeCapability", handle)
        return Gpu(
            model=str(_require("nvmlDeviceGetName", handle)),
            uuid_hash=hash_uuid(str(_require("nvmlDeviceGetUUID", handle))),
            compute_capability=f"{major}.{minor}",
            memory_bytes=getattr(_query("nvmlDeviceGetMemoryInfo", handle), "total", None),
            driver=_query("nvmlSystemGetDriverVersion"),
            sm_clock_mhz=_query("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_SM),
            sm_clock_max_mhz=_query("nvmlDeviceGetMaxClockInfo", handle, numbers.CLOCK_SM),
            memory_clock_mhz=_query("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_MEMORY),
            memory_clock_max_mhz=_query("nvmlDeviceGetMaxClockInfo", handle, numbers.CLOCK_MEMORY),
            memory_bus_bits=_query("nvmlDeviceGetMemoryBusWidth", handle),
            power_limit_w=_watts(_query("nvmlDeviceGetEnforcedPowerLimit", handle)),
            ecc=_is_on(_query("nvmlDeviceGetEccMode", handle)),
            mig=_is_on(_query("nvmlDeviceGetMigMode", handle)),
            persistence=_is_on(_query("nvmlDeviceGetPersistenceMode", handle)),
            throttle_reasons=_throttle_reasons(handle),
        )


def read_telemetry(index: int, own_pids: Collection[int] = ()) -> GpuState:
    """A GPU's clocks, temperature, power, throttling, errors and processes now. Raises UnfitEnvironmentError.

    `own_pids`: exactly those processes of this run that hold a CUDA context.
    """
    with initialised():
        handle = _handle(index)
        return GpuState(
            sm_clock_mhz=_query("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_SM),
            memory_clock_mhz=_query("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_MEMORY),
            temperature_c=_query("nvmlDeviceGetTemperature", handle, numbers.TEMPERATURE_GPU),
            power_w=_watts(_query("nvmlDeviceGetPowerUsage", handle)),
            throttle_reasons=_throttle_reasons(handle),
            throttled_ns=_throttled_ns(handle),
            ecc_errors=_query("nvmlDeviceGetTotalEccErrors", handle, numbers.UNCORRECTED, numbers.VOLATILE),
            foreign_processes=_foreign(_compute_pids(handle), own_pids),
            recovery_action=_recovery_action(handle),
        )


def hash_uuid(uuid: str) -> str:
    """The first digits of the UUID's SHA-256: they identify a GPU without publishing its UUID."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:UUID_HASH_DIGITS]


def sustained_clock_mhz(index: int) -> int:
    """The GPU's default SM clock in MHz, or its highest one if NVML does not report a default."""
    with initialised():
        handle = _handle(index)
        default = _query("nvmlDeviceGetClock", handle, numbers.CLOCK_SM, numbers.APPLICATION_CLOCK_DEFAULT)
        return int(default or _require("nvmlDeviceGetMaxClockInfo", handle, numbers.CLOCK_SM))


def lock_clocks(index: int, sm_clock_mhz: int) -> None:
    """Locks the SM clock until `unlock_clocks`, for every user of this GPU. Raises UnfitEnvironmentError."""
    with initialised():
        _require("nvmlDeviceSetGpuLockedClocks", _handle(index), sm_clock_mhz, sm_clock_mhz)


def unlock_clocks(index: int) -> None:
    """Lets the driver choose the SM clock again. Raises UnfitEnvironmentError."""
    with initialised():
        _require("nvmlDeviceResetGpuLockedClocks", _handle(index))


def _require(function: str, *arguments: Any) -> Any:
    """The result of an NVML function. Raises UnfitEnvironmentError if the call fails."""
    import pynvml

    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        raise _unfit(error) from error


def _query(function: str, *arguments: Any) -> Any:
    """The result of an NVML function; None if this GPU, driver or pynvml does not support it.

    Raises UnfitEnvironmentError for the errors in REMEDIES.
    """
    import pynvml

    if not hasattr(pynvml, function):
        return None
    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        if error.value in numbers.REMEDIES:
            raise _unfit(error) from error
        return None


def _unfit(error: Any) -> UnfitEnvironmentError:
    other = f"the NVIDIA driver reports '{error}'; run `nvidia-smi`, and fix the problem that it prints"
    return UnfitEnvironmentError(numbers.REMEDIES.get(error.value, other))


def _handle(index: int) -> Any:
    return _require("nvmlDeviceGetHandleByIndex", index)


def _visible_indices() -> list[int]:
    """NVML's indices in CUDA's order; like CUDA, this stops at the first entry that names no GPU."""
    count = int(_require("nvmlDeviceGetCount"))
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return list(range(count))
    indices: list[int] = []
    for entry in wanted.split(","):
        index = _index_of(entry.strip(), count)
        if index is None:
            break
        indices.append(index)
    return indices


def _index_of(entry: str, count: int) -> int | None:
    """The GPU that an entry of CUDA_VISIBLE_DEVICES names; None if there is no such GPU.

    An entry is an index, a GPU's UUID or its first characters, or the UUID of a MIG slice (its GPU counts).
    """
    if entry.isdecimal():
        return int(entry) if int(entry) < count else None
    if entry.startswith("MIG-"):
        slice_ = _query("nvmlDeviceGetHandleByUUID", entry)
        parent = None if slice_ is None else _query("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", slice_)
        return None if parent is None else _query("nvmlDeviceGetIndex", parent)
    if not entry.startswith("GPU-"):
        return None
    uuids = (str(_require("nvmlDeviceGetUUID", _handle(index))) for index in range(count))
    return next((index for index, uuid in enumerate(uuids) if uuid.startswith(entry)), None)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _is_on(mode: Any) -> bool | None:
    """NVML returns the present mode, or [present, pending]."""
    present = mode[0] if isinstance(mode, list | tuple) else mode
    return None if present is None else bool(present)


def _throttle_reasons(handle: Any) -> tuple[str, ...] | None:
    bits = _query("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if bits is None:  # the name before driver 535
        bits = _query("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if bits is None else tuple(name for bit, name in numbers.THROTTLE_REASONS.items() if bits & bit)


def _throttled_ns(handle: Any) -> dict[str, int | None]:
    counters = {
        name: _query("nvmlDeviceGetViolationStatus", handle, number) for name, number in numbers.POLICIES.items()
    }
    return {name: None if counter is None else int(counter.violationTime) for name, counter in counters.items()}


def _compute_pids(handle: Any) -> list[int] | None:
    """None if the driver lists no processes. A driver that does not support MPS has no MPS processes to list."""
    computing = _query("nvmlDeviceGetComputeRunningProcesses", handle)
    behind_mps = _query("nvmlDeviceGetMPSComputeRunningProcesses", handle) or ()
    return None if computing is None else [int(process.pid) for process in (*computing, *behind_mps)]


def _foreign(pids: Collection[int] | None, own_pids: Collection[int]) -> int | None:
    """The number of processes that do not belong to this run; None if unknown.

    In a container, NVML may report the host's process ids, which differ from ours. Then as many processes as this run
    has count as its own.
    """
    if pids is None:
        return None
    others = [pid for pid in pids if pid not in own_pids]
    if len(others) < len(pids) or _pids_are_the_hosts():
        return len(others)
    return max(0, len(others) - len(own_pids))


def _pids_are_the_hosts() -> bool:
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def _recovery_action(handle: Any) -> str | None:
    values = _query("nvmlDeviceGetFieldValues", handle, [numbers.FIELD_RECOVERY_ACTION])
    if values is None or values[0].nvmlReturn != 0:
        return None
    action = int(values[0].value.uiVal)
    return numbers.RECOVERY_ACTIONS.get(action, f"action {action}")
