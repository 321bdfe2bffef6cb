"""The interface of a device that measurements use.

`capture` a launch once, then `time` it from a cold cache as often as needed. On CUDA, `capture` records a graph, and
`time` queues its replay behind a spin kernel and between two events: the timing excludes the host's latency. The CPU
has no queue: there, the launch is the call itself, timed by a monotonic clock.
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
"""A call without arguments; it returns the tensor that contains its output."""


class CaptureError(Exception):
    """A call cannot be captured as a graph. The process that tried is in an undefined state: end it."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured call, and the tensor that every replay writes (None if the output tensor may differ)."""

    launch: Launch
    output: torch.Tensor | None = None


class Device(ABC):
    """Runs launches and times them."""

    kind: str
    """`cpu` or `cuda`, as torch names it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The manufacturer's name of the model."""

    @property
    @abstractmethod
    def torch_device(self) -> torch.device:
        """The torch device of its tensors."""

    @property
    @abstractmethod
    def max_shared_bytes(self) -> int:
        """The maximum number of bytes to `share` with each of two processes, with as many again for this process."""

    @property
    def stream(self) -> int | None:
        """The CUDA stream on which candidates must launch, as a pointer; None on the CPU."""
        return None

    @abstractmethod
    def capture(self, launch: Launch) -> Captured:
        """Captures `launch` for replay: the same work, with as little host work as possible. Raises CaptureError."""

    @abstractmethod
    def time(self, launch: Launch, prepare: Callable[[], None]) -> tuple[float, torch.Tensor]:
        """Runs `prepare`, then a captured launch once from a cold cache: milliseconds, and a copy of the output."""

    def time_batch(self, launch: Launch, count: int) -> tuple[float, float] | None:  # noqa: ARG002
        """Runs a captured launch `count` times in a row: total milliseconds by the device's clock and by the host's.

        None if the device has no clock of its own.
        """
        return None

    @abstractmethod
    def synchronize(self) -> None:
        """Waits until all work on the device, on every stream, is finished."""

    @abstractmethod
    def empty_launch(self) -> Callable[[], None]:
        """The smallest possible launch: its time is the floor of the clock."""

    @abstractmethod
    def reset_peak(self) -> None:
        """Frees unused cached memory and restarts the measurement of the peak."""

    @abstractmethod
    def peak_bytes(self) -> int:
        """Peak memory use in bytes since `reset_peak`; on CUDA, without the buffer that flushes the L2 cache."""

    @abstractmethod
    def fill_unpredictable(self, tensor: torch.Tensor) -> None:
        """Fills a contiguous tensor with normal values that earlier values do not help to predict."""

    @abstractmethod
    def share(self, size: int, folder: Path) -> tuple[torch.Tensor, str]:
        """Allocates `size` bytes that another process can map, and returns a handle for `open_shared`.

        `folder` is one that both processes may access. The other process maps no other data of this process, as long
        as these bytes are not freed.
        """

    @abstractmethod
    def open_shared(self, handle: str, size: int) -> torch.Tensor:
        """Maps the memory that another process shares."""

    def unshare(self, handle: str) -> None:  # noqa: B027  # CUDA has nothing to do here
        """Prevents further processes from mapping the memory; existing mappings stay valid."""

    def allocate(self, size: int) -> torch.Tensor:
        """`size` bytes of uninitialised memory."""
        import torch

        return torch.empty(size, dtype=torch.uint8, device=self.torch_device)
