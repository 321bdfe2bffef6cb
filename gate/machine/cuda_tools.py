"""Finds CUDA's programs. No other module searches for them.

The search order: the toolkit of CUDA_HOME (or CUDA_PATH), the PATH, the folders of NVIDIA's installers (the newest
version first), and the pip packages that contain such a program (nvidia-*, triton).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gate.errors import UnfitEnvironmentError

REMEDIES: Mapping[str, str] = {
    "nvcc": "install the CUDA toolkit (https://developer.nvidia.com/cuda-downloads), or set CUDA_HOME to its folder",
    "ncu": (
        "install Nsight Compute (https://developer.nvidia.com/nsight-compute; it comes with the CUDA toolkit) and "
        "put ncu on the PATH, or set CUDA_HOME"
    ),
    "cuobjdump": "install the CUDA toolkit, or run `pip install triton`: it contains cuobjdump and nvdisasm",
    "compute-sanitizer": (
        "install it with the CUDA toolkit (apt-get install cuda-sanitizer-13-0), or set CUDA_HOME to its folder"
    ),
}
"""How to install each program."""
ROOT = Path("/")
TOOLKITS = ("usr/local/cuda", "usr/local/cuda-*", "opt/cuda")
PROFILERS = ("opt/nvidia/nsight-compute/*",)
TOOL_FOLDERS = ("bin", "nsight-compute-*", "compute-sanitizer")
"""The folders of a toolkit that contain programs."""


def find_tool(name: str) -> str | None:
    """The path of one of the programs in `REMEDIES`; None if it is not installed."""
    return next((found for place in _places(name) if (found := shutil.which(place))), None)


def require_tool(name: str) -> str:
    """The path of one of the programs in `REMEDIES`. Raises UnfitEnvironmentError if it is not installed."""
    found = find_tool(name)
    if found is None:
        raise UnfitEnvironmentError(f"{name} is not installed; {REMEDIES[name]}")
    return found


def _places(name: str) -> Iterator[str]:
    chosen = [os.environ[variable] for variable in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(variable)]
    yield from _in_toolkits(map(Path, chosen), name)
    yield name
    yield from _in_toolkits(_installed(TOOLKITS), name)
    yield from (str(folder / name) for folder in _installed(PROFILERS))
    yield from (str(folder / name) for folder in _in_pip_packages())


def _in_toolkits(toolkits: Iterable[Path], name: str) -> Iterator[str]:
    for toolkit in toolkits:
        for pattern in TOOL_FOLDERS:
            yield from (str(folder / name) for folder in _newest_first(toolkit.glob(pattern)))


def _installed(patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from _newest_first(ROOT.glob(pattern))


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    """Sorted by the version in the name: 13.0 before 12.8, and 12.10 before 12.9."""
    return sorted(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)], reverse=True)


def _in_pip_packages() -> Iterator[Path]:
    for package, programs in (("nvidia", "*/bin"), ("triton", "backends/nvidia/bin")):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(folder).glob(programs), reverse=True)
