"""Starts programs with a stripped environment, the same for all of them.

The fork server, compilers, profilers and git get the variables below and no others. A variable that the user set for
another purpose (LD_PRELOAD, PYTHONPATH, CPATH, NVCC_APPEND_FLAGS, GIT_DIR) does not affect the build or the results,
and programs print English messages, whatever the user's language is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A candidate's process gets these variables as well.
ALLOWED_ENVIRONMENT = (
    "CC", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CXX", "HOME", "LD_LIBRARY_PATH",
    "MAX_JOBS", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PATH", "TEMP", "TMP",
    "TMPDIR", "TORCH_CUDA_ARCH_LIST",
)  # fmt: skip
LOCALE = "C.UTF-8"


def stripped_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The allowed variables, with the programs of this Python's environment (ninja) first on the PATH.

    OpenMP's idle threads sleep instead of spinning: threads of one arm that spin would slow the next arm down. With
    one other busy process on two cores, spinning turned a ratio of 0.75 into 2.0; on a quiet machine, sleeping costs
    every arm 3 to 5%.
    """
    kept = {name: environment[name] for name in ALLOWED_ENVIRONMENT if name in environment}
    own = {
        "CCACHE_DISABLE": "1",  # the compiler may be a link to ccache, and any candidate could write to its cache
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # CUDA and NVML then number the GPUs alike
        "LC_ALL": LOCALE,
        "OMP_WAIT_POLICY": "PASSIVE",
        "PATH": _first_on(kept.get("PATH", os.defpath), str(Path(sys.executable).parent)),
    }
    return kept | own


def _first_on(path: str, folder: str) -> str:
    others = [entry for entry in path.split(os.pathsep) if entry != folder]
    return os.pathsep.join([folder, *others])


def run_program(
    command: Sequence[str],
    *,
    own_folder_first: bool = False,
    variables: Mapping[str, str] | None = None,
    **options: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a program and captures its output: `subprocess.run` with a stripped environment.

    `own_folder_first`: the folder of the program comes first on its PATH. `variables` are added to its environment;
    `options` are those of `subprocess.run`. Raises OSError if the program cannot be started, and TimeoutExpired.
    """
    environment = stripped_environment(os.environ) | dict(variables or {})
    if own_folder_first:
        environment["PATH"] = _first_on(environment["PATH"], str(Path(command[0]).parent))
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if "input" not in options:
        streams["stdin"] = subprocess.DEVNULL
    return subprocess.run(command, env=environment, check=False, **(streams | options))
