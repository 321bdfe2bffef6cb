"""The CPU twin: the same protocol on a machine with no GPU."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch

from gate.device.base import Captured, Device, Launch
from gate.machine import cpu_model, l2_bytes

FLUSH_FACTOR = 2


class CpuDevice(Device):
    """Times calls with the monotonic clock, after evicting the cores' private caches.

    The last-level cache is left alone: it is shared, often larger than any workload, and on a virtual machine it
    belongs to the neighbours too.
    """

    kind = "cpu"
    timing = "monotonic clock, direct call"

    def __init__(self) -> None:
        size = FLUSH_FACTOR * l2_bytes() * torch.get_num_threads()
        self._scratch = torch.zeros(size // 4, dtype=torch.float32)

    @property
    def name(self) -> str:
        return cpu_model()

    def capture(self, launch: Launch) -> Captured:
        return Captured(launch)

    def time(self, launch: Launch, prepare: Callable[[], None]) -> tuple[float, torch.Tensor]:
        prepare()
        self._scratch.add_(1.0)  # reads and writes every line, on all threads
        started = time.perf_counter_ns()
        output = launch()
        return (time.perf_counter_ns() - started) / 1e6, output

    def synchronize(self) -> None:
        pass

    def empty_launch(self) -> Callable[[], None]:
        return lambda: None

    def peak_bytes(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
