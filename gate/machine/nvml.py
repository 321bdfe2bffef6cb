"""The driver's view of a GPU: the only module that touches pynvml. No torch, and no CUDA context.

NVML does not survive a fork: open a session in the process that looks, never in one that forks afterwards.
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
    """NVML, ready to answer. Nests, and costs next to nothing inside another. Raises UnfitEnvironmentError."""
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
    """The models of the GPUs that CUDA_VISIBLE_DEVICES leaves visible; none without a driver."""
    try:
        with initialised():
            return [str(_need("nvmlDeviceGetName", _handle(index))) for index in _visible_indices()]
    except UnfitEnvironmentError:
        return []


def visible_index() -> int:
    """NVML's index of CUDA's first device. Raises UnfitEnvironmentError where no GPU is visible.

    CUDA counts as NVML does under CUDA_DEVICE_ORDER=PCI_BUS_ID; without that, the two may differ where one machine
    has GPUs of different models.
    """
    with initialised():
        indices = _visible_indices()
    if not indices:
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
        reason = "NVML finds no GPU" if wanted is None else f"CUDA_VISIBLE_DEVICES={wanted} leaves no GPU visible"
        raise UnfitEnvironmentError(f"{reason}; `nvidia-smi -L` lists them, and --device cpu needs none")
    return indices[0]


def describe_gpu(index: int) -> Gpu:
    """What NVML knows of a GPU; sm_count, l2_bytes, cuda, cudnn and triton are not among it."""
    with initialised():
        handle = _handle(index)
        major, minor = _need("nvmlDeviceGetCudaComputeCapability", handle)
        return Gpu(
            model=str(_need("nvmlDeviceGetName", handle)),
            uuid_hash=hash_uuid(str(_need("nvmlDeviceGetUUID", handle))),
            compute_capability=f"{major}.{minor}",
            memory_bytes=getattr(_ask("nvmlDeviceGetMemoryInfo", handle), "total", None),
            driver=_ask("nvmlSystemGetDriverVersion"),
            sm_clock_mhz=_ask("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_SM),
            sm_clock_max_mhz=_ask("nvmlDeviceGetMaxClockInfo", handle, numbers.CLOCK_SM),
            memory_clock_mhz=_ask("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_MEMORY),
            memory_clock_max_mhz=_ask("nvmlDeviceGetMaxClockInfo", handle, numbers.CLOCK_MEMORY),
            memory_bus_bits=_ask("nvmlDeviceGetMemoryBusWidth", handle),
            power_limit_w=_watts(_ask("nvmlDeviceGetEnforcedPowerLimit", handle)),
            ecc=_is_on(_ask("nvmlDeviceGetEccMode", handle)),
            mig=_is_on(_ask("nvmlDeviceGetMigMode", handle)),
            persistence=_is_on(_ask("nvmlDeviceGetPersistenceMode", handle)),
            throttle_reasons=_throttle_reasons(handle),
        )


def read_telemetry(index: int, own_pids: Collection[int] = ()) -> GpuState:
    """How a GPU fares now. `own_pids` are the processes of ours that hold a CUDA context, and no others."""
    with initialised():
        handle = _handle(index)
        return GpuState(
            sm_clock_mhz=_ask("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_SM),
            memory_clock_mhz=_ask("nvmlDeviceGetClockInfo", handle, numbers.CLOCK_MEMORY),
            temperature_c=_ask("nvmlDeviceGetTemperature", handle, numbers.TEMPERATURE_GPU),
            power_w=_watts(_ask("nvmlDeviceGetPowerUsage", handle)),
            throttle_reasons=_throttle_reasons(handle),
            throttled_ns=_throttled_ns(handle),
            ecc_errors=_ask("nvmlDeviceGetTotalEccErrors", handle, numbers.UNCORRECTED, numbers.VOLATILE),
            foreign_processes=_foreign(_compute_pids(handle), own_pids),
            recovery_action=_recovery_action(handle),
        )


def hash_uuid(uuid: str) -> str:
    """The first digits of the UUID's SHA-256: the same GPU has the same, and nobody learns which it is."""
    return hashlib.sha256(uuid.encode()).hexdigest()[:UUID_HASH_DIGITS]


def sustained_clock_mhz(index: int) -> int:
    """The SM clock that the maker sets by default, or the highest where NVML does not tell."""
    with initialised():
        handle = _handle(index)
        default = _ask("nvmlDeviceGetClock", handle, numbers.CLOCK_SM, numbers.APPLICATION_CLOCK_DEFAULT)
        return int(default or _need("nvmlDeviceGetMaxClockInfo", handle, numbers.CLOCK_SM))


def lock_clocks(index: int, sm_clock_mhz: int) -> None:
    """Holds the SM clock there until `unlock_clocks`, for everyone on this GPU. Raises UnfitEnvironmentError."""
    with initialised():
        _need("nvmlDeviceSetGpuLockedClocks", _handle(index), sm_clock_mhz, sm_clock_mhz)


def unlock_clocks(index: int) -> None:
    """Gives the SM clock back to the driver. Raises UnfitEnvironmentError."""
    with initialised():
        _need("nvmlDeviceResetGpuLockedClocks", _handle(index))


def _need(function: str, *arguments: Any) -> Any:
    """NVML's answer. Raises UnfitEnvironmentError where it has none."""
    import pynvml

    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError as error:
        raise _unfit(error) from error


def _ask(function: str, *arguments: Any) -> Any:
    """NVML's answer, or None where this GPU, its driver or this pynvml has none. Raises UnfitEnvironmentError."""
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
    said = f"the NVIDIA driver answers '{error}'; run `nvidia-smi`, and mend what it complains of"
    return UnfitEnvironmentError(numbers.REMEDIES.get(error.value, said))


def _handle(index: int) -> Any:
    return _need("nvmlDeviceGetHandleByIndex", index)


def _visible_indices() -> list[int]:
    """In CUDA's order; like CUDA, this stops at the first entry that names no GPU."""
    count = int(_need("nvmlDeviceGetCount"))
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
    """Of an index, a UUID or its beginning, or a MIG slice's UUID, whose GPU is meant; None where there is none."""
    if entry.isdecimal():
        return int(entry) if int(entry) < count else None
    if entry.startswith("MIG-"):
        slice_ = _ask("nvmlDeviceGetHandleByUUID", entry)
        parent = None if slice_ is None else _ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", slice_)
        return None if parent is None else _ask("nvmlDeviceGetIndex", parent)
    if not entry.startswith("GPU-"):
        return None
    uuids = (str(_need("nvmlDeviceGetUUID", _handle(index))) for index in range(count))
    return next((index for index, uuid in enumerate(uuids) if uuid.startswith(entry)), None)


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _is_on(mode: Any) -> bool | None:
    """NVML answers with the present mode, or with [present, pending]."""
    present = mode[0] if isinstance(mode, list | tuple) else mode
    return None if present is None else bool(present)


def _throttle_reasons(handle: Any) -> tuple[str, ...] | None:
    bits = _ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if bits is None:  # the name before driver 535
        bits = _ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if bits is None else tuple(name for bit, name in numbers.THROTTLE_REASONS.items() if bits & bit)


def _throttled_ns(handle: Any) -> dict[str, int | None]:
    counters = {
        name: _ask("nvmlDeviceGetViolationStatus", handle, number) for name, number in numbers.POLICIES.items()
    }
    return {name: None if each is None else int(each.violationTime) for name, each in counters.items()}


def _compute_pids(handle: Any) -> list[int] | None:
    """None where the driver lists no processes at all; that it knows no MPS is no gap: then there are no such."""
    computing = _ask("nvmlDeviceGetComputeRunningProcesses", handle)
    behind_mps = _ask("nvmlDeviceGetMPSComputeRunningProcesses", handle) or ()
    return None if computing is None else [int(process.pid) for process in (*computing, *behind_mps)]


def _foreign(pids: Collection[int] | None, own_pids: Collection[int]) -> int | None:
    """How many of these processes are not ours; None where they are not known.

    In a container NVML may number processes as the host does, and ours go unrecognised; then as many as we have
    running are taken for ours.
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
    values = _ask("nvmlDeviceGetFieldValues", handle, [numbers.FIELD_RECOVERY_ACTION])
    if values is None or values[0].nvmlReturn != 0:
        return None
    action = int(values[0].value.uiVal)
    return numbers.RECOVERY_ACTIONS.get(action, f"action {action}")
