"""Devices that run and time launches: one small interface, with a CPU and a CUDA implementation."""

from __future__ import annotations

import functools
from collections.abc import Collection

from gate.errors import BadInputError
from gate.runtime.device.base import Captured, CaptureError, Device, Launch

__all__ = ["CaptureError", "Captured", "Device", "Launch", "choose_device", "open_device"]


def choose_device(wanted: str, possible: Collection[str] = ("cuda", "cpu")) -> str:
    """The device to use: `auto` chooses CUDA if there is a GPU, else the CPU, out of a candidate's `possible` ones.

    Queries the driver and does not import torch. Raises BadInputError if `wanted` is not possible.
    """
    if wanted == "auto":
        return "cuda" if "cuda" in possible and ("cpu" not in possible or _has_nvidia_gpu()) else "cpu"
    if wanted not in possible:
        build_only = "; without a GPU, you can only build it: `kernel-gate build --arch 8.9`"
        hint = "" if "cpu" in possible else build_only
        raise BadInputError(f"this candidate does not run on {wanted}; use --device {' or '.join(possible)}{hint}")
    return wanted


def _has_nvidia_gpu() -> bool:
    from gate.machine.nvml import gpu_names

    return bool(gpu_names())


@functools.cache
def open_device(kind: str) -> Device:
    """This process's device of that kind. Raises UnfitEnvironmentError if this machine has no such device."""
    if kind == "cpu":
        from gate.runtime.device.cpu import CpuDevice

        return CpuDevice()
    from gate.runtime.device.cuda import CudaDevice

    return CudaDevice()
