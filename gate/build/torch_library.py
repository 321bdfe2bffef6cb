"""Paths and flags of torch's headers and libraries, for candidates that include them. Does not import torch."""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Iterable
from pathlib import Path

HEADERS = ("include", "include/torch/csrc/api/include")
LIBRARIES = ("c10", "torch_cpu", "torch", "torch_python", "c10_cuda", "torch_cuda")
EXTENSION = "TORCH_API_INCLUDE_EXTENSION_H"
"""The macro that torch's cpp_extension defines for <torch/extension.h>."""


def include_folders() -> list[str]:
    """The include folders of torch, and of Python, whose header torch's headers include."""
    return [*(str(_root() / name) for name in HEADERS), sysconfig.get_path("include")]


def definitions(name: str) -> list[str]:
    """The macros that cpp_extension defines: many sources use PYBIND11_MODULE(TORCH_EXTENSION_NAME, m)."""
    return [f"-DTORCH_EXTENSION_NAME={name}", f"-D{EXTENSION}"]


def is_included(files: Iterable[str]) -> bool:
    """Whether a header of torch is among the files that a compiler read."""
    return any(name.startswith(f"{_root() / 'include'}/") for name in files)


def link_flags() -> list[str]:
    """The linker flags for the libraries of this torch."""
    folder = _root() / "lib"
    return [f"-L{folder}", *(f"-l{name}" for name in LIBRARIES if (folder / f"lib{name}.so").exists())]


def _root() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torch is not installed")
    return Path(spec.origin).parent
