"""How Kernel Gate starts a program: with an environment of its own making, the same for each of them.

The fork server, compilers, profilers, git: each gets the variables below and no other. A variable that the user set
for something else (LD_PRELOAD, PYTHONPATH, CPATH, NVCC_APPEND_FLAGS, GIT_DIR) changes neither what is built nor what
is read, and messages come in English, whatever the user's language is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# What a candidate's process, too, may know of its surroundings.
ALLOWED_ENVIRONMENT = (
    "CC", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CXX", "HOME", "LD_LIBRARY_PATH",
    "MAX_JOBS", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PATH", "TEMP", "TMP",
    "TMPDIR", "TORCH_CUDA_ARCH_LIST",
)  # fmt: skip
LOCALE = "C.UTF-8"


def stripped_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The allowed variables, with this Python's own programs (ninja) first on the PATH.

    OpenMP's idle threads sleep instead of spinning, so that one arm's do not take the processor from the next: beside
    one busy neighbour on two cores, spinning turned a ratio of 0.75 into 2.0, and on a quiet machine sleeping costs
    every arm 3 to 5%.
    """
    kept = {name: environment[name] for name in ALLOWED_ENVIRONMENT if name in environment}
    own = {
        "CCACHE_DISABLE": "1",  # a compiler may be a link to it, and any candidate could write its cache
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that CUDA and NVML count the GPUs alike
        "LC_ALL": LOCALE,
        "OMP_WAIT_POLICY": "PASSIVE",
        "PATH": _first_on(kept.get("PATH", os.defpath), str(Path(sys.executable).parent)),
    }
    return kept | own


def _first_on(path: str, folder: str) -> str:
    others = [each for each in path.split(os.pathsep) if each != folder]
    return os.pathsep.join([folder, *others])


def run_program(
    command: Sequence[str], *, beside: bool = False, variables: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program to its end, and keeps what it prints: `subprocess.run` with a stripped environment.

    `beside`: what it calls is looked for in its own folder first. `variables` are added to its environment; `options`
    are those of `subprocess.run`. Raises OSError where it cannot be started, and TimeoutExpired.
    """
    environment = stripped_environment(os.environ) | dict(variables or {})
    if beside:
        environment["PATH"] = _first_on(environment["PATH"], str(Path(command[0]).parent))
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if "input" not in options:
        streams["stdin"] = subprocess.DEVNULL
    return subprocess.run(command, env=environment, check=False, **(streams | options))
