"""Diagnoses this machine: packages, compilers, folders, processor, memory; and how to fix them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import runpy
import shutil
from collections.abc import Mapping
from pathlib import Path

from gate.doctor.gpu import gpu_findings
from gate.errors import UnfitEnvironmentError
from gate.machine.cuda_tools import REMEDIES, find_tool
from gate.machine.host import compiler_command, cpu_model, first_output_line, memory_bytes
from gate.machine.preflight import cache_root, faults
from gate.records.diagnosis import Finding
from gate.settings.model import LimitSettings

__all__ = ["Finding", "examine"]

FREE_BYTES = 1 << 30
BUSY_LOAD = 0.5
"""The load average per processor above which timings are disturbed."""


def examine(device: str) -> list[Finding]:
    """All findings that matter for measuring on `device`; the needed ones come first."""
    findings = [
        *_packages(),
        *([_torch_for_gpus()] if device == "cuda" else []),
        _compiler(),
        *_programs(device),
        _cache(),
        *_places(device),
        _processor(),
        _load(),
        _memory(),
        *gpu_findings(device),
    ]
    return sorted(findings, key=lambda finding: not finding.needed)


def _packages() -> list[Finding]:
    return [
        Finding(name, seen is not None, seen or "missing", f"pip install {name}", needed=True)
        for name, seen in ((name, _version(name)) for name in ("torch", "ninja", "scipy"))
    ]


def _torch_for_gpus() -> Finding:
    """The CUDA version that torch was built for. It reads torch's version.py: to import torch would take seconds."""
    spec = importlib.util.find_spec("torch")
    path = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    toolkit = runpy.run_path(str(path)).get("cuda") if path and path.exists() else None
    remedy = "install the build of torch for the driver's CUDA: https://pytorch.org/get-started/locally"
    build = f"for CUDA {toolkit}" if toolkit else "built for CPUs only, or missing"
    return Finding("torch for GPUs", toolkit is not None, build, remedy, needed=True)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _compiler() -> Finding:
    version = first_output_line(*compiler_command().split(), "--version")
    return Finding(
        "C++ compiler", version is not None, version or "missing", "apt-get install g++, or set CXX", needed=True
    )


PROGRAMS: Mapping[str, tuple[str, str]] = {
    "git": ("the commit in env.json", "apt-get install git"),
    "nvcc": ("CUDA candidates", REMEDIES["nvcc"]),
    "ncu": ("hardware counters", REMEDIES["ncu"]),
    "cuobjdump": ("machine code", REMEDIES["cuobjdump"]),
    "compute-sanitizer": ("memory errors and races", REMEDIES["compute-sanitizer"]),
}


def _programs(device: str) -> list[Finding]:
    return [
        Finding(
            f"{name} ({purpose})", found is not None, found or "missing", remedy, name == "nvcc" and device == "cuda"
        )
        for name, (purpose, remedy) in PROGRAMS.items()
        for found in (find_tool(name) if name in REMEDIES else shutil.which(name),)
    ]


def _cache() -> Finding:
    try:
        root = cache_root()
    except UnfitEnvironmentError as error:
        said, _, remedy = str(error).partition("; ")
        return Finding("build cache", False, said, remedy, needed=True)
    home = next(path for path in (root, *root.parents) if path.exists())
    free, writable = shutil.disk_usage(home).free, home.is_dir() and os.access(home, os.W_OK)
    seen = f"{root}, {free / 2**30:.0f} GiB free{'' if writable else ', not writable'}"
    remedy = "free some space, or set KERNEL_GATE_CACHE to a folder that can be written"
    return Finding("build cache", writable and free > FREE_BYTES, seen, remedy, needed=True)


def _places(device: str) -> list[Finding]:
    """One finding for every fault that would keep a run from starting; one finding if there is none."""
    found = [fault.partition("; ") for fault in faults(LimitSettings(), device)]
    fine = Finding("folders and limits", True, "a run can start", "", needed=True)
    return [Finding("folders and limits", False, said, remedy, needed=True) for said, _, remedy in found] or [fine]


def _processor() -> Finding:
    count = len(os.sched_getaffinity(0))
    return Finding(
        "processors",
        count >= 2,
        f"{count} × {cpu_model()}",
        "use two or more processors: on one, all other processes disturb the timings",
    )


def _load() -> Finding:
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    remedy = "stop other programs on this machine before measuring"
    return Finding("idle", load <= BUSY_LOAD, f"load {load:.2f} per processor", remedy)


def _memory() -> Finding:
    size = memory_bytes() / 2**30
    return Finding(
        "memory", size >= 4, f"{size:.0f} GiB", "use a machine with 4 GiB or more: the float64 oracle needs them"
    )
