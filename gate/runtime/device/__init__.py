"""Whatever knows about the machine that computes: one small interface, and its twins."""

from __future__ import annotations

import functools
from collections.abc import Collection

from gate.errors import BadInputError
from gate.runtime.device.base import Captured, CaptureError, Device, Launch

__all__ = ["CaptureError", "Captured", "Device", "Launch", "choose_device", "open_device"]


def choose_device(wanted: str, possible: Collection[str] = ("cuda", "cpu")) -> str:
    """`auto` to CUDA where there is one, and the CPU elsewhere, out of those `possible` for a candidate.

    Asks the driver and imports no torch. Raises BadInputError where `wanted` is not possible.
    """
    if wanted == "auto":
        return "cuda" if "cuda" in possible and ("cpu" not in possible or _has_nvidia_gpu()) else "cpu"
    if wanted not in possible:
        here = (
            "" if "cpu" in possible else "; without a GPU it can be built (`kernel-gate build --arch 8.9`), not run"
        )
        raise BadInputError(f"this candidate does not run on {wanted}; use --device {' or '.join(possible)}{here}")
    return wanted


def _has_nvidia_gpu() -> bool:
    from gate.machine.nvml import gpu_names

    return bool(gpu_names())


@functools.cache
def open_device(kind: str) -> Device:
    """This process's device of that kind, ready to time. Raises UnfitEnvironmentError where this machine has none."""
    if kind == "cpu":
        from gate.runtime.device.cpu import CpuDevice

        return CpuDevice()
    from gate.runtime.device.cuda import CudaDevice

    return CudaDevice()
