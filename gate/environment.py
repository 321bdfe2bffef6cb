"""What a measurement ran on, for the record."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

import torch

import gate
from gate.device import Device
from gate.machine import compiler_command, cpu_model, memory_bytes, said_by
from gate.records import Environment


def describe(device: Device) -> Environment:
    """The environment now, seen from the process that times."""
    dirty = said_by("git", "status", "--porcelain")
    return Environment(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kernel_gate=gate.__version__,
        device=device.kind,
        device_name=device.name,
        os=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        cpu=cpu_model(),
        cpu_count=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        memory_bytes=memory_bytes(),
        compiler=said_by(*compiler_command().split(), "--version"),
        git_commit=said_by("git", "rev-parse", "HEAD"),
        git_dirty=None if dirty is None else bool(dirty),
    )
