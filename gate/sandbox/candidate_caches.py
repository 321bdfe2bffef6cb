"""The folder for the caches of a candidate's own compilers (load_inline, torch.compile, Triton, numba, the driver).

Each candidate has a new folder in each run. Its later processes find there what its first process compiled; no other
candidate does. The folder is also the home of these processes, so that compilers which write to the home by default
write there. The user's caches are neither read nor written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import site
from pathlib import Path

FOLDER = "CANDIDATE_CACHE"  # without Kernel Gate's name, by which a candidate would know that it is judged
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
"""The variable that chooses each compiler's folder, and that folder below the candidate's."""
BATON = "lock"
"""The lock of torch.utils.cpp_extension, which waits for it forever if the process that held it was killed."""


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
    """The folder that this process's environment names, so that the process may be allowed to write to it."""
    return [os.environ[FOLDER]] if FOLDER in os.environ else []


def remove_stale_locks() -> None:
    """Removes the locks of builders that ended. Call it confined: the candidate may have made links here."""
    for folder in of_this_process():
        for lock in (Path(folder) / PLACES["TORCH_EXTENSIONS_DIR"]).glob(f"**/{BATON}"):
            with contextlib.suppress(OSError):
                lock.unlink()
