"""Torch's own headers and libraries, for candidates that include them. No import of torch: only where it lies."""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Iterable
from pathlib import Path

HEADERS = ("include", "include/torch/csrc/api/include")
LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python", "c10_cuda", "torch_cuda")
EXTENSION = "TORCH_API_INCLUDE_EXTENSION_H"
"""What torch's cpp_extension defines for <torch/extension.h>."""


def include_folders() -> list[str]:
    """Of torch, and of Python, whose header torch's include."""
    return [*(str(_root() / name) for name in HEADERS), sysconfig.get_path("include")]


def definitions(name: str) -> list[str]:
    """What cpp_extension defines: PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) stands in many a source."""
    return [f"-DTORCH_EXTENSION_NAME={name}", f"-D{EXTENSION}"]


def is_included(files: Iterable[str]) -> bool:
    """Whether these files, as a compiler names what it read, are torch's among others."""
    return any(name.startswith(f"{_root() / 'include'}/") for name in files)


def link_flags() -> list[str]:
    """For the libraries that this torch has."""
    folder = _root() / "lib"
    return [f"-L{folder}", *(f"-l{name}" for name in LIBRARIES if (folder / f"lib{name}.so").exists())]


def _root() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torch is not installed")
    return Path(spec.origin).parent
