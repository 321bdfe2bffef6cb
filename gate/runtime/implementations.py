"""Callable implementations of attention: a compiled candidate, a Python candidate, an SDPA backend, the empty launch.

Use this module in a candidate's sandboxed process only: to load a candidate is to run its code.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gate.candidates.tunables import Config, from_text
from gate.records import Status
from gate.records.sdpa import BACKENDS, PREFIX
from gate.runtime import python_loader
from gate.runtime.device import Device, Launch
from gate.runtime.guarded_tensor import GuardedTensor

DTYPE_CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # enum attention_dtype
UNSUPPORTED_CODE = 1  # enum attention_status
PYTHON_SOURCE = re.compile(r"(?P<file>.*\.py)(#(?P<config>[^/]*))?")
MAX_ERROR_CHARS = 2000
"""Of a candidate's exception text, which may contain a compiler's whole output."""
MEANINGS = {1: "unsupported", 2: "launch failed"}  # enum attention_status


class CandidateError(Exception):
    """The candidate failed; `status` is the cause."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Operands:
    """The arguments of one call: tensors, each (batch, heads, seq_len, head_dim), scale and mask."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    out: torch.Tensor
    scale: float
    causal: bool


@dataclass(frozen=True, slots=True)
class BoundCall:
    """A call with its arguments. `workspace` is the scratch memory that the call may write to."""

    launch: Launch
    workspace: GuardedTensor | None = None


class Implementation(ABC):
    """An implementation of attention."""

    @abstractmethod
    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> BoundCall:
        """Binds a call to these operands; the call returns the tensor that contains the output.

        `workspace`: scratch memory of another call with the same sizes, to use again. Launching may raise
        CandidateError.
        """

    def selected(self) -> contextlib.AbstractContextManager[Any]:
        """A context that must be active during the call; it is entered before the timing starts."""
        return contextlib.nullcontext()


class SdpaBackend(Implementation):
    """`torch.nn.functional.scaled_dot_product_attention`, restricted to one backend."""

    def __init__(self, name: str) -> None:
        self._backend = getattr(torch.nn.attention.SDPBackend, BACKENDS[name])

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> BoundCall:  # noqa: ARG002
        attention = torch.nn.functional.scaled_dot_product_attention
        q, k, v = operands.q, operands.k, operands.v
        causal, scale = operands.causal, operands.scale
        return BoundCall(lambda: attention(q, k, v, is_causal=causal, scale=scale))

    def selected(self) -> contextlib.AbstractContextManager[Any]:
        return torch.nn.attention.sdpa_kernel(self._backend)


class Empty(Implementation):
    """The empty launch: its time is the floor of the clock."""

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> BoundCall:  # noqa: ARG002
        launch_empty = device.empty_launch()

        def launch() -> torch.Tensor:
            launch_empty()
            return operands.out

        return BoundCall(launch)


class _Arguments(ctypes.Structure):
    """`attention_args` of kernels/attention.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "workspace")),
        ("workspace_bytes", ctypes.c_size_t),
        *((f"{name}_stride", ctypes.c_int64 * 4) for name in ("q", "k", "v", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "seq_len", "head_dim")),
        ("scale", ctypes.c_float),
        ("causal", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("stream", ctypes.c_void_p),
    )


class CompiledCandidate(Implementation):
    """A shared library that exports the two functions of kernels/attention.h."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._attention = loaded.attention
        self._attention.argtypes = [ctypes.POINTER(_Arguments)]
        self._attention.restype = ctypes.c_int
        self._workspace_bytes = loaded.attention_workspace_bytes
        self._workspace_bytes.argtypes = [ctypes.POINTER(_Arguments)]
        self._workspace_bytes.restype = ctypes.c_size_t

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> BoundCall:
        arguments = _arguments(operands)
        arguments.stream = device.stream
        if workspace is None:
            workspace = GuardedTensor(device, (max(1, self._workspace_bytes(arguments)),), torch.uint8)
        arguments.workspace = workspace.tensor.data_ptr()
        arguments.workspace_bytes = workspace.tensor.numel()
        pointer, attention, out = ctypes.byref(arguments), self._attention, operands.out

        def launch() -> torch.Tensor:
            code = attention(pointer)
            if code:
                raise _error_of(code)
            return out

        return BoundCall(launch, workspace)


def _arguments(operands: Operands) -> _Arguments:
    batch, heads, seq_len, head_dim = operands.q.shape
    arguments = _Arguments(
        batch=batch, heads=heads, seq_len=seq_len, head_dim=head_dim,
        scale=operands.scale, causal=operands.causal, dtype=DTYPE_CODES[operands.q.dtype],
    )  # fmt: skip
    for name in ("q", "k", "v", "out"):
        tensor = getattr(operands, name)
        setattr(arguments, name, tensor.data_ptr())
        setattr(arguments, f"{name}_stride", (ctypes.c_int64 * 4)(*tensor.stride()))
    return arguments


def _error_of(code: int) -> CandidateError:
    status = Status.UNSUPPORTED if code == UNSUPPORTED_CODE else Status.CRASHED
    meaning = MEANINGS.get(code, "an error code that attention.h does not define")
    return CandidateError(status, f"attention() returned {code} ({meaning})")


class PythonCandidate(Implementation):
    """A Python file that defines `attention(q, k, v, scale, causal, out)`; its tunables are set as globals."""

    def __init__(self, source: Path, config: Config | None = None) -> None:
        self._folder = str(source.parent)
        with candidate_errors(self._folder):
            module = python_loader.load(source, config or {})
            self._attention: Callable[..., object] = getattr(module, "attention", None)  # type: ignore[assignment]
            fault = python_loader.signature_fault(self._attention)
        if fault is not None:
            raise CandidateError(Status.CRASHED, f"{source.name} defines {fault}")

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> BoundCall:  # noqa: ARG002
        attention, folder, o = self._attention, self._folder, operands
        checked = False

        def launch() -> torch.Tensor:
            nonlocal checked
            with candidate_errors(folder):
                returned = attention(o.q, o.k, o.v, o.scale, o.causal, o.out)
            if returned is not None and not checked:
                checked = True
                _refuse_unwritten(returned, o.out)
            return o.out

        return BoundCall(launch)


def _refuse_unwritten(returned: object, out: torch.Tensor) -> None:
    """Raises CandidateError if the call returned another object and left `out` all NaN, as before the call."""
    if returned is out or not bool(out.isnan().all()):
        return
    kind = "tensor" if isinstance(returned, torch.Tensor) else type(returned).__name__
    article = "an" if kind[0] in "aeiou" else "a"
    remedy = "write the result into `out`, e.g. out.copy_(result)"
    raise CandidateError(
        Status.INCORRECT, f"attention() returned {article} {kind} and did not write to `out`; {remedy}"
    )


@contextlib.contextmanager
def candidate_errors(folder: str = "") -> Iterator[None]:
    """Turns any exception of a candidate's Python code into a CandidateError that names the line in `folder`."""
    try:
        yield
    except BaseException as error:
        no_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        status = Status.OUT_OF_MEMORY if no_memory else Status.CRASHED
        text = str(error)[:MAX_ERROR_CHARS]
        raise CandidateError(status, f"raised {type(error).__name__}: {text}{_location(error, folder)}") from error


def _location(error: BaseException, folder: str) -> str:
    """The innermost line of the candidate's own files in the traceback."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    own = next((frame for frame in frames if folder and Path(frame.filename).is_relative_to(folder)), None)
    return f" ({Path(own.filename).relative_to(folder)}, line {own.lineno})" if own else ""


def open_implementation(name: str, source: str | None) -> Implementation:
    """The implementation of an arm: `sdpa:NAME`, `empty`, or the candidate whose library or Python file is `source`.

    A Python file's path may end with `#` and a configuration: kernel.py#BLOCK_M=64,BLOCK_N=64. Raises CandidateError
    if a Python candidate cannot be imported, and OSError if a library cannot be loaded.
    """
    if name.startswith(PREFIX):
        return SdpaBackend(name.removeprefix(PREFIX))
    if source is None:
        return Empty()
    python = PYTHON_SOURCE.fullmatch(source)
    if python is None:
        return CompiledCandidate(Path(source))
    return PythonCandidate(Path(python["file"]), from_text(python["config"] or ""))
