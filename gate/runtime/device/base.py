"""What a measurement asks of a device.

A launch is `capture`d once, and then `time`d from a cold cache as often as wanted. On CUDA, capture makes a graph and
time queues its replay behind a spin, between two events, so that
the host's latency stays outside; the CPU has no queue, so that its launch is the call itself under a monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    import torch

Launch: TypeAlias = "Callable[[], torch.Tensor]"
"""A call without arguments; it returns the tensor that holds its output."""


class CaptureError(Exception):
    """A call cannot be captured. The process that tried is not to be used any further."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What to replay in place of a call, and the tensor that every replay writes, where it is the same each time."""

    launch: Launch
    output: torch.Tensor | None = None


class Device(ABC):
    """A machine that runs launches and a clock that reads them."""

    kind: str
    """`cpu` or `cuda`, as torch names it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The model, as its maker names it."""

    @property
    @abstractmethod
    def torch_device(self) -> torch.device:
        """Where its tensors are; it times nothing elsewhere."""

    @property
    @abstractmethod
    def most_shared(self) -> int:
        """How many bytes to `share` with each of two processes at most, with as many again to oneself."""

    @property
    def stream(self) -> int | None:
        """The queue in which candidates must put their work, as a pointer; None where there is none."""
        return None

    @abstractmethod
    def capture(self, launch: Launch) -> Captured:
        """What to replay in place of `launch`: the same work, with as little of the host as the device allows.

        Raises CaptureError.
        """

    @abstractmethod
    def time(self, launch: Launch, prepare: Callable[[], None]) -> tuple[float, torch.Tensor]:
        """Prepare, then run a captured launch once from a cold cache: milliseconds, and the output as of then."""

    def time_batch(self, launch: Launch, count: int) -> tuple[float, float] | None:  # noqa: ARG002
        """Run a captured launch `count` times in a row: milliseconds by the device's clock, and by the host's.

        None where the device has no clock of its own.
        """
        return None

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work on the device, on every stream, is done."""

    @abstractmethod
    def empty_launch(self) -> Callable[[], None]:
        """The least that can be launched: timing it shows the floor of the clock."""

    @abstractmethod
    def begin_peak(self) -> None:
        """Let go of memory that nothing uses any more, and count the peak from here."""

    @abstractmethod
    def peak_bytes(self) -> int:
        """The most memory in use at once since `begin_peak`; on CUDA without the device's own buffer for flushing."""

    @abstractmethod
    def draw(self, tensor: torch.Tensor) -> None:
        """Fills a contiguous tensor with normal values that nobody can foretell, whatever was drawn before."""

    @abstractmethod
    def share(self, size: int, folder: Path) -> tuple[torch.Tensor, str]:
        """`size` bytes that another process may open, and the handle to open them with; `folder` is for both.

        Nothing else is in what the other process maps, as long as these bytes are not freed.
        """

    @abstractmethod
    def open_shared(self, handle: str, size: int) -> torch.Tensor:
        """The memory that another process shares."""

    def unshare(self, handle: str) -> None:  # noqa: B027  # most devices need not
        """Nobody else may open the memory from now on; who has it keeps it."""

    def allocate(self, size: int) -> torch.Tensor:
        """`size` bytes of uninitialised memory."""
        import torch

        return torch.empty(size, dtype=torch.uint8, device=self.torch_device)
