"""Where a candidate's own compilers keep what they make (load_inline, torch.compile, Triton, numba, the driver).

A fresh folder for each run and candidate: its later processes find there what its first one compiled, and nobody else
ever does. It is the home of these processes too, so that what keeps files in a home by default keeps them there; the
user's caches are neither read nor written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import site
from pathlib import Path

FOLDER = "CANDIDATE_CACHE"  # not our name: a candidate that looks for it would know that it is judged
PLACES = {
    "CCACHE_DIR": "ccache",
    "CUDA_CACHE_PATH": "nv",
    "CUPY_CACHE_DIR": "cupy",
    "CUTE_DSL_CACHE_DIR": "cute_dsl",  # CUTLASS's Python
    "HOME": "",
    "NUMBA_CACHE_DIR": "numba",
    "PYTORCH_KERNEL_CACHE_PATH": "torch_kernels",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TORCH_EXTENSIONS_DIR": "torch_extensions",
    "TRITON_CACHE_DIR": "triton",
    "XDG_CACHE_HOME": ".cache",
    FOLDER: "",
}
"""Which variable chooses whose folder."""
BATON = "lock"
"""What torch.utils.cpp_extension leaves while it builds, and waits for: forever, if its builder was killed."""


def open_for(candidate: str | None, root: str, *, on_cpu: bool) -> list[str]:
    """Makes the folder of this candidate's file below `root`, sets the variables that choose it, and returns it.

    A job without a candidate has none.
    """
    if candidate is None:
        return []
    folder = Path(root) / hashlib.sha256(candidate.encode()).hexdigest()[:16]
    os.environ.update(variables(folder, on_cpu))
    for name in PLACES:
        Path(os.environ[name]).mkdir(parents=True, exist_ok=True)
    return [str(folder)]


def variables(folder: Path, on_cpu: bool) -> dict[str, str]:
    """With these, compilers keep their files below `folder`; on a CPU, Triton interprets what it cannot compile."""
    own_packages = {"PYTHONUSERBASE": site.getuserbase()}  # which would move with the home
    return {
        **{name: str(folder / place) for name, place in PLACES.items()},
        **own_packages,
        **({"TRITON_INTERPRET": "1"} if on_cpu else {}),
    }


def of_this_process() -> list[str]:
    """The folder that this process's surroundings name, for it to be allowed."""
    return [os.environ[FOLDER]] if FOLDER in os.environ else []


def let_go() -> None:
    """Removes the locks of builders that ended. Call it confined: the candidate made what lies there, links too."""
    for folder in of_this_process():
        for lock in (Path(folder) / PLACES["TORCH_EXTENSIONS_DIR"]).glob(f"**/{BATON}"):
            with contextlib.suppress(OSError):
                lock.unlink()
