"""Describes the machine and software of a measurement, as an Environment record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

import gate
from gate.machine import nvml
from gate.machine.determinism import current_flags
from gate.machine.host import compiler_command, cpu_model, first_output_line, memory_bytes
from gate.records import Environment, Gpu
from gate.storage import write_record


def write_env(path: str | Path, sdpa_backend: str | None = None) -> Environment:
    """Writes this process's environment to `path` (env.json) and returns it. The GPU is CUDA's first, if any.

    `sdpa_backend`: the chosen SDPA backend, if any. Raises UnwritableOutputError, and UnfitEnvironmentError if
    PyTorch finds a GPU that the driver cannot describe.
    """
    on_gpu = torch.cuda.is_available()
    environment = describe("cuda", torch.cuda.get_device_name(0)) if on_gpu else describe("cpu", cpu_model())
    environment = replace(environment, sdpa_backend=sdpa_backend)
    write_record(Path(path), environment, indent=2)
    return environment


def describe(kind: str, name: str) -> Environment:
    """This process's environment now. `kind` (`cpu` or `cuda`) and `name` (the model) describe the device."""
    dirty = first_output_line("git", "status", "--porcelain")
    return Environment(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        kernel_gate=gate.__version__,
        device=kind,
        device_name=name,
        os=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        cpu=cpu_model(),
        cpu_count=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        memory_bytes=memory_bytes(),
        compiler=first_output_line(*compiler_command().split(), "--version"),
        git_commit=first_output_line("git", "rev-parse", "HEAD"),
        git_dirty=None if dirty is None else bool(dirty),
        gpu=_gpu() if kind == "cuda" else None,
        flags=current_flags(),
    )


def _gpu() -> Gpu:
    """CUDA's first device: fields from the driver, and fields that only CUDA and PyTorch report."""
    properties = torch.cuda.get_device_properties(0)
    cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return replace(
        nvml.describe_gpu(nvml.visible_index()),
        sm_count=properties.multi_processor_count,
        l2_bytes=properties.L2_cache_size,
        cuda=torch.version.cuda,
        cudnn=None if cudnn is None else str(cudnn),
        triton=_version("triton"),
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
