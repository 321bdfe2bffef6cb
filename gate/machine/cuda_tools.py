"""Where CUDA's programs are. Nothing else in Kernel Gate looks for them.

In this order: the toolkit of CUDA_HOME (or CUDA_PATH), the PATH, the places of NVIDIA's installers, the newest first,
and the packages of pip that bring such a program (nvidia-*, triton).
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
    "nvcc": "install the CUDA toolkit (https://developer.nvidia.com/cuda-downloads), or set CUDA_HOME to where it is",
    "ncu": (
        "install Nsight Compute (https://developer.nvidia.com/nsight-compute; it comes with the CUDA toolkit) and "
        "put ncu on the PATH, or set CUDA_HOME"
    ),
    "cuobjdump": "install the CUDA toolkit, or `pip install triton`, which brings cuobjdump and nvdisasm along",
    "compute-sanitizer": (
        "it comes with the CUDA toolkit (apt-get install cuda-sanitizer-13-0); install it, or set CUDA_HOME"
    ),
}
"""The programs, and how to get each."""
ROOT = Path("/")
TOOLKITS = ("usr/local/cuda", "usr/local/cuda-*", "opt/cuda")
PROFILERS = ("opt/nvidia/nsight-compute/*",)
INSIDE = ("bin", "nsight-compute-*", "compute-sanitizer")
"""Where in a toolkit its programs are."""


def find_tool(name: str) -> str | None:
    """The path of one of the programs in `REMEDIES`; None where this machine has none."""
    return next((found for place in _places(name) if (found := shutil.which(place))), None)


def need_tool(name: str) -> str:
    """The same. Raises UnfitEnvironmentError, with the remedy, where there is none."""
    found = find_tool(name)
    if found is None:
        raise UnfitEnvironmentError(f"no {name}; {REMEDIES[name]}")
    return found


def _places(name: str) -> Iterator[str]:
    chosen = [os.environ[variable] for variable in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(variable)]
    yield from _in_toolkits(map(Path, chosen), name)
    yield name
    yield from _in_toolkits(_installed(TOOLKITS), name)
    yield from (str(folder / name) for folder in _installed(PROFILERS))
    yield from (str(folder / name) for folder in _of_pip())


def _in_toolkits(toolkits: Iterable[Path], name: str) -> Iterator[str]:
    for toolkit in toolkits:
        for inside in INSIDE:
            yield from (str(folder / name) for folder in _newest_first(toolkit.glob(inside)))


def _installed(patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from _newest_first(ROOT.glob(pattern))


def _newest_first(folders: Iterable[Path]) -> list[Path]:
    """By the version in the name: 13.0 before 12.8, and 12.10 before 12.9."""
    return sorted(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)], reverse=True)


def _of_pip() -> Iterator[Path]:
    for package, programs in (("nvidia", "*/bin"), ("triton", "backends/nvidia/bin")):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(folder).glob(programs), reverse=True)
