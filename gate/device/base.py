"""What a measurement asks of a device.

The protocol of one timing is always the same: `flush` the caches, then `time` a launch that was `capture`d
before. On CUDA, capture makes a graph and time queues its replay behind a spin, between two events, so that
the host's latency stays outside; the CPU has no queue, so that its launch is the call itself under a monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Launch: TypeAlias = "Callable[[], torch.Tensor]"
"""A call without arguments; it returns the tensor that holds its output."""


class Device(ABC):
    """A machine that runs launches and a clock that reads them."""

    kind: str
    """`cpu` or `cuda`, as torch names it."""
    timing: str
    """How the clock is read, as recorded in a trial."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The model, as its maker names it."""

    @abstractmethod
    def capture(self, launch: Launch) -> Launch:
        """What to replay in place of `launch`: the same work, with as little of the host as the device allows."""

    @abstractmethod
    def flush(self) -> None:
        """Evict the last timing's inputs and outputs from the cache."""

    @abstractmethod
    def time(self, launch: Launch) -> tuple[float, torch.Tensor]:
        """Run a captured launch once: how long the device worked, in milliseconds, and the output."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work on the device, on every stream, is done."""

    @abstractmethod
    def empty_launch(self) -> Callable[[], None]:
        """The least that can be launched: timing it shows the floor of the clock."""

    @abstractmethod
    def peak_bytes(self) -> int:
        """The most memory that this process has held on the device."""

    def allocate(self, size: int) -> torch.Tensor:
        """`size` bytes of uninitialised memory."""
        import torch

        return torch.empty(size, dtype=torch.uint8, device=self.kind)
