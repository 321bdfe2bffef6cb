"""Fixes how PyTorch computes, so that it computes the same from run to run."""

from __future__ import annotations

import contextlib
import os
import random
from contextlib import ExitStack
from types import TracebackType
from typing import Any

CUBLAS_CONFIG = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_DETERMINISTIC = ":4096:8"  # one of the two that cuBLAS names as deterministic


def lock_environment(seed: int = 0) -> LockedEnvironment:
    """Makes PyTorch compute the same every time: from now on, or as a context manager until it is left.

    Off: TF32 in matmul and cuDNN, cuDNN's benchmarking. On: deterministic algorithms. Set: the seeds of Python,
    NumPy and PyTorch, and cuBLAS's workspace, which takes effect on the handles that are made afterwards.

    An operation without a deterministic form warns rather than fails: in PyTorch's strict mode, cuDNN's attention
    refuses to run, and SDPA would lose what may be its fastest backend. Memory is not filled when it is allocated,
    as the deterministic mode would have it: that is a kernel more in every timing.
    """
    return LockedEnvironment(seed)


class LockedEnvironment:
    """What `lock_environment` has set; leaving its context puts everything back."""

    def __init__(self, seed: int) -> None:
        with ExitStack() as undo:
            _lock_precision(undo)
            _lock_determinism(undo)
            _lock_seeds(undo, seed)
            self._undo = undo.pop_all()  # whatever failed before this line has been undone
        self.flags = current_flags()
        """As `current_flags` tells them."""

    def __enter__(self) -> LockedEnvironment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


def current_flags() -> dict[str, str | bool]:
    """How PyTorch computes now: `ieee` is full float32, `tf32` is not, `none` leaves it to PyTorch's default."""
    import torch

    return {
        "matmul_precision": _precision(torch.backends.cuda.matmul),
        "cudnn_precision": _precision(torch.backends.cudnn),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cublas_workspace_config": os.environ.get(CUBLAS_CONFIG, ""),
    }


def _precision(backend: Any) -> str:
    before_torch_2_9 = not hasattr(backend, "fp32_precision")
    return ("tf32" if backend.allow_tf32 else "ieee") if before_torch_2_9 else str(backend.fp32_precision)


def _lock_precision(undo: ExitStack) -> None:
    """By the names that PyTorch has had since 2.9 and by the older ones: it refuses to read what only one has set."""
    import torch

    matmul: Any = torch.backends.cuda.matmul
    cudnn = torch.backends.cudnn
    parts = [cudnn.rnn, cudnn.conv] if hasattr(cudnn, "conv") else []
    modern = [each for each in (*parts, cudnn, matmul) if hasattr(each, "fp32_precision")]
    for backend in modern:  # put back last, and from the general to the particular
        _remember(undo, backend, "fp32_precision")
    for backend in (matmul, cudnn):
        _remember(undo, backend, "allow_tf32")
    for backend in modern:
        backend.fp32_precision = "ieee"
    matmul.allow_tf32 = cudnn.allow_tf32 = False


def _remember(undo: ExitStack, target: Any, name: str) -> None:
    with contextlib.suppress(RuntimeError):  # set by its other name, and remembered under that
        undo.callback(setattr, target, name, getattr(target, name))


def _lock_determinism(undo: ExitStack) -> None:
    import torch

    enabled, lenient = torch.are_deterministic_algorithms_enabled, torch.is_deterministic_algorithms_warn_only_enabled
    undo.callback(torch.use_deterministic_algorithms, enabled(), warn_only=lenient())
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn, memory = torch.backends.cudnn, torch.utils.deterministic
    for target, name, value in (
        (cudnn, "deterministic", True),
        (cudnn, "benchmark", False),
        (memory, "fill_uninitialized_memory", False),
    ):
        _remember(undo, target, name)
        setattr(target, name, value)
    undo.callback(_put_back, CUBLAS_CONFIG, os.environ.get(CUBLAS_CONFIG))
    os.environ[CUBLAS_CONFIG] = CUBLAS_DETERMINISTIC


def _put_back(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


def _lock_seeds(undo: ExitStack, seed: int) -> None:
    import numpy as np
    import torch

    undo.callback(random.setstate, random.getstate())
    undo.callback(np.random.set_state, np.random.get_state())
    undo.callback(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # else there is no state yet to put back
        undo.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
