"""What can play an arm, made callable: a compiled candidate, a Python candidate, an SDPA backend.

Runs in a candidate's own process only: loading a candidate is running it.
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
MAX_WORDS = 2000
"""Of what a candidate raises: a compiler's whole output may be among it."""
MEANINGS = {1: "unsupported", 2: "launch failed"}


class CandidateError(Exception):
    """The candidate said, or showed, that it failed; `status` names how."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Operands:
    """One call's tensors, each (batch, heads, seq_len, head_dim), and its parameters."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    out: torch.Tensor
    scale: float
    causal: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """A call whose arguments are settled. `workspace` is the scratch memory that it may write."""

    launch: Launch
    workspace: GuardedTensor | None = None


class Implementation(ABC):
    """Something that computes attention."""

    @abstractmethod
    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> Bound:
        """A call on these operands; it returns the tensor that holds the output.

        `workspace`, of another call of the same sizes, is used again where a call needs scratch memory.
        """

    def selected(self) -> contextlib.AbstractContextManager[Any]:
        """What must be in force while the call runs, kept out of the timed span."""
        return contextlib.nullcontext()


class SdpaBackend(Implementation):
    """`torch.nn.functional.scaled_dot_product_attention`, held to one backend."""

    def __init__(self, name: str) -> None:
        self._backend = getattr(torch.nn.attention.SDPBackend, BACKENDS[name])

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> Bound:  # noqa: ARG002
        attention = torch.nn.functional.scaled_dot_product_attention
        q, k, v = operands.q, operands.k, operands.v
        causal, scale = operands.causal, operands.scale
        return Bound(lambda: attention(q, k, v, is_causal=causal, scale=scale))

    def selected(self) -> contextlib.AbstractContextManager[Any]:
        return torch.nn.attention.sdpa_kernel(self._backend)


class Empty(Implementation):
    """The empty launch: what the clock reads when nothing is done."""

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> Bound:  # noqa: ARG002
        nothing = device.empty_launch()

        def launch() -> torch.Tensor:
            nothing()
            return operands.out

        return Bound(launch)


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
    """A library that exports the two functions of kernels/attention.h."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._attention = loaded.attention
        self._attention.argtypes = [ctypes.POINTER(_Arguments)]
        self._attention.restype = ctypes.c_int
        self._workspace_bytes = loaded.attention_workspace_bytes
        self._workspace_bytes.argtypes = [ctypes.POINTER(_Arguments)]
        self._workspace_bytes.restype = ctypes.c_size_t

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> Bound:
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

        return Bound(launch, workspace)


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
    meaning = MEANINGS.get(code, "an error of its own")
    return CandidateError(status, f"attention() returned {code} ({meaning})")


class PythonCandidate(Implementation):
    """A Python file that defines `attention(q, k, v, scale, causal, out)`; its tunables are there as globals."""

    def __init__(self, source: Path, config: Config | None = None) -> None:
        self._folder = str(source.parent)
        with candidate_errors(self._folder):
            module = python_loader.load(source, config or {})
            self._attention: Callable[..., object] = getattr(module, "attention", None)  # type: ignore[assignment]
            fault = python_loader.fault(self._attention)
        if fault is not None:
            raise CandidateError(Status.CRASHED, f"{source.name} defines {fault}")

    def bind(self, operands: Operands, device: Device, workspace: GuardedTensor | None = None) -> Bound:  # noqa: ARG002
        attention, folder, each = self._attention, self._folder, operands
        looked_at = False

        def launch() -> torch.Tensor:
            nonlocal looked_at
            with candidate_errors(folder):
                answer = attention(each.q, each.k, each.v, each.scale, each.causal, each.out)
            if answer is not None and not looked_at:
                looked_at = True
                _refuse_unwritten(answer, each.out)
            return each.out

        return Bound(launch)


def _refuse_unwritten(answer: object, out: torch.Tensor) -> None:
    """Raises CandidateError where the answer was returned, and `out` is NaN everywhere as it was before the call."""
    if answer is out or not bool(out.isnan().all()):
        return
    kind = "tensor" if isinstance(answer, torch.Tensor) else type(answer).__name__
    article = "an" if kind[0] in "aeiou" else "a"
    remedy = "write the result into `out`, e.g. out.copy_(result)"
    raise CandidateError(
        Status.INCORRECT, f"attention() returned {article} {kind} and left `out` as it was; {remedy}"
    )


@contextlib.contextmanager
def candidate_errors(folder: str = "") -> Iterator[None]:
    """Turns whatever a candidate's Python code raises into a CandidateError, with the line of a file in `folder`."""
    try:
        yield
    except BaseException as error:
        no_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        status = Status.OUT_OF_MEMORY if no_memory else Status.CRASHED
        words = str(error)[:MAX_WORDS]
        raise CandidateError(status, f"raised {type(error).__name__}: {words}{_where(error, folder)}") from error


def _where(error: BaseException, folder: str) -> str:
    """The innermost line of the candidate's that it came through."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    at = next((each for each in frames if folder and Path(each.filename).is_relative_to(folder)), None)
    return f" ({Path(at.filename).relative_to(folder)}, line {at.lineno})" if at else ""


def open_implementation(name: str, source: str | None) -> Implementation:
    """What plays an arm: `sdpa:NAME`, `empty`, or the candidate whose library or Python file is `source`.

    A Python file may be followed by `#` and its configuration, as in kernel.py#BLOCK_M=64,BLOCK_N=64.
    """
    if name.startswith(PREFIX):
        return SdpaBackend(name.removeprefix(PREFIX))
    if source is None:
        return Empty()
    python = PYTHON_SOURCE.fullmatch(source)
    if python is None:
        return CompiledCandidate(Path(source))
    return PythonCandidate(Path(python["file"]), from_text(python["config"] or ""))
