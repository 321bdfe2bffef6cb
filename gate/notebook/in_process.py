"""Runs a function and SDPA in this process, on the same tensors, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from gate.errors import BadInputError
from gate.records import Check, Distribution
from gate.runtime.device import Device, Launch, open_device
from gate.runtime.implementations import Operands, SdpaBackend
from gate.runtime.inputs import fill

Function = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
BASELINE, CANDIDATE = "baseline", "candidate"


@dataclass(frozen=True, slots=True)
class Drawn:
    """Random inputs."""

    seed: int
    distribution: Distribution = "normal"


Values = Sequence[torch.Tensor] | Drawn


class InProcessTrial:
    """Copies of the inputs, the candidate, the baseline, and a clock."""

    def __init__(
        self, device: Device, function: Function, inputs: Sequence[torch.Tensor], scale: float, backend: str
    ) -> None:
        self.device, self.scale = device, scale
        self.inputs = [torch.empty_like(each, memory_format=torch.contiguous_format) for each in inputs]
        q, k, v = self.inputs
        self._sdpa = SdpaBackend(backend)
        self._launches: Mapping[str, Launch] = {
            BASELINE: self._sdpa.bind(Operands(q, k, v, torch.empty_like(q), scale, False), device).launch,
            CANDIDATE: lambda: function(q, k, v, scale),
        }

    def refill(self, values: Values) -> None:
        """Writes new values to the inputs."""
        if isinstance(values, Drawn):
            fill(self.inputs, values.seed, values.distribution)
        else:
            for mine, given in zip(self.inputs, values, strict=True):
                mine.copy_(given)

    def run(self) -> torch.Tensor:
        """Runs the candidate once, untimed."""
        out = self._launches[CANDIDATE]()
        self.device.synchronize()
        return out

    def time(self, name: str) -> tuple[float, torch.Tensor]:
        """Milliseconds from a cold cache, and a copy of the output."""
        with self._sdpa.selected() if name == BASELINE else contextlib.nullcontext():
            elapsed, out = self.device.time(self._launches[name], lambda: None)
        return elapsed, out.clone()

    def is_like_q(self, out: object) -> Check:
        """Checks that an output is a torch.Tensor like q, and shares no memory with the inputs."""
        q, name = self.inputs[0], "output"
        if type(out) is not torch.Tensor:
            return Check(name, False, f"returned {type(out).__name__}, not a tensor")
        for what in ("shape", "dtype", "device"):
            seen, wanted = getattr(out, what), getattr(q, what)
            if seen != wanted:
                return Check(name, False, f"{what} is {seen}, expected {wanted}")
        storages = [each.untyped_storage().data_ptr() for each in self.inputs]
        own = out.untyped_storage().data_ptr() not in storages
        return Check(name, own, "a tensor of its own" if own else "shares the memory of an input")

    def unchanged(self, before: Sequence[torch.Tensor]) -> Check:
        """Checks that the inputs were not changed."""
        pairs = zip("qkv", before, self.inputs, strict=True)
        changed = [name for name, was, now in pairs if not torch.equal(was, now)]
        return Check("inputs unchanged", not changed, f"wrote to {', '.join(changed)}" if changed else "as given")


@contextlib.contextmanager
def own_device(torch_device: torch.device) -> Iterator[Device]:
    """Waits for queued work, then makes the device's stream the current one within the context.

    Raises BadInputError if this process has already timed on another GPU.
    """
    if torch_device.type == "cpu":
        yield open_device(torch_device.type)
        return
    with torch.cuda.device(torch_device):
        before = torch.cuda.current_stream()
        device = open_device(torch_device.type)
        if device.torch_device != torch_device:
            raise BadInputError(
                f"q is on {torch_device}, but this process times on {device.torch_device}; move q, k and v to it"
            )
        device.synchronize()
        torch.cuda.set_stream(torch.cuda.ExternalStream(device.stream))  # type: ignore[no-untyped-call]
        try:
            yield device
        finally:
            device.synchronize()
            torch.cuda.set_stream(before)
