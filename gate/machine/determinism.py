"""Sets PyTorch's numerical flags and seeds, so that every run computes the same."""

from __future__ import annotations

import contextlib
import os
import random
from contextlib import ExitStack
from types import TracebackType
from typing import Any

CUBLAS_CONFIG = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_DETERMINISTIC = ":4096:8"  # one of the two deterministic settings in cuBLAS's documentation


def lock_environment(seed: int = 0) -> LockedEnvironment:
    """Makes PyTorch compute the same every time: from now on, or, as a context manager, until the context ends.

    It turns off TF32 in matmul and cuDNN and cuDNN's benchmarking, turns on deterministic algorithms, and sets the
    seeds of Python, NumPy and PyTorch and cuBLAS's workspace configuration. The latter affects only cuBLAS handles
    that are created afterwards.

    An operation without a deterministic version warns and does not fail: in PyTorch's strict mode, cuDNN's attention
    refuses to run, and SDPA would lose what may be its fastest backend. PyTorch's deterministic mode also fills new
    memory; this is turned off, because it adds a kernel to every timing.
    """
    return LockedEnvironment(seed)


class LockedEnvironment:
    """The flags that `lock_environment` set; the end of its context restores the former ones."""

    def __init__(self, seed: int) -> None:
        with ExitStack() as undo:
            _lock_precision(undo)
            _lock_determinism(undo)
            _lock_seeds(undo, seed)
            self._undo = undo.pop_all()  # an error before this line restores all that was set
        self.flags = current_flags()
        """The result of `current_flags`."""

    def __enter__(self) -> LockedEnvironment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


def current_flags() -> dict[str, str | bool]:
    """PyTorch's present flags. A precision is `ieee` (full float32), `tf32`, or `none` (PyTorch's default)."""
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
    """Sets the names of PyTorch 2.9 and the older ones: PyTorch refuses to read a flag if only one name was set."""
    import torch

    matmul: Any = torch.backends.cuda.matmul
    cudnn = torch.backends.cudnn
    parts = [cudnn.rnn, cudnn.conv] if hasattr(cudnn, "conv") else []
    modern = [backend for backend in (*parts, cudnn, matmul) if hasattr(backend, "fp32_precision")]
    for backend in modern:  # restored last, and the general flag before the particular ones
        _remember(undo, backend, "fp32_precision")
    for backend in (matmul, cudnn):
        _remember(undo, backend, "allow_tf32")
    for backend in modern:
        backend.fp32_precision = "ieee"
    matmul.allow_tf32 = cudnn.allow_tf32 = False


def _remember(undo: ExitStack, target: Any, name: str) -> None:
    with contextlib.suppress(RuntimeError):  # it was set, and is remembered, by its other name
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
    undo.callback(_restore_variable, CUBLAS_CONFIG, os.environ.get(CUBLAS_CONFIG))
    os.environ[CUBLAS_CONFIG] = CUBLAS_DETERMINISTIC


def _restore_variable(variable: str, value: str | None) -> None:
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
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # otherwise there is no state to restore yet
        undo.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
