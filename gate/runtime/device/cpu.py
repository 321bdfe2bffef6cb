"""The CPU twin: the same protocol on a machine with no GPU."""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gate.machine.host import cpu_model, l2_bytes
from gate.runtime.device.base import Captured, Device, Launch

FLUSH_FACTOR = 2
MAX_SHARED_BYTES = 128 << 20
SEED_BITS = 256
"""torch's generator for the CPU takes 32 bits of a seed, and its state can be computed from what it drew."""
DRAWN_AT_ONCE = 1 << 15


class CpuDevice(Device):
    """Times calls with the monotonic clock, after evicting the cores' private caches.

    The last-level cache is left alone: it is shared, often larger than any workload, and on a virtual machine it
    belongs to the neighbours too.
    """

    kind = "cpu"

    def __init__(self) -> None:
        size = FLUSH_FACTOR * l2_bytes() * torch.get_num_threads()
        self._scratch = torch.zeros(size // 4, dtype=torch.float32)

    @property
    def name(self) -> str:
        return cpu_model()

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.kind)

    @property
    def most_shared(self) -> int:
        return MAX_SHARED_BYTES

    def capture(self, launch: Launch) -> Captured:
        return Captured(launch)

    def time(self, launch: Launch, prepare: Callable[[], None]) -> tuple[float, torch.Tensor]:
        prepare()
        self._scratch.add_(1.0)  # reads and writes every line, on all threads
        started = time.perf_counter_ns()
        output = launch()
        elapsed_ms = (time.perf_counter_ns() - started) / 1e6
        return elapsed_ms, output.clone()  # what a thread would write later is not in it

    def synchronize(self) -> None:
        pass

    def empty_launch(self) -> Callable[[], None]:
        return lambda: None

    def draw(self, tensor: torch.Tensor) -> None:
        generator = np.random.default_rng(secrets.randbits(SEED_BITS))
        for part in torch.split(tensor.view(-1), DRAWN_AT_ONCE):
            part.copy_(torch.from_numpy(generator.standard_normal(part.numel(), dtype=np.float32)))

    def share(self, size: int, folder: Path) -> tuple[torch.Tensor, str]:
        handle, path = tempfile.mkstemp(dir=folder)
        try:
            os.posix_fallocate(handle, 0, size)  # fails here, where else the first write beyond what fits ends all
        finally:
            os.close(handle)
        return self.open_shared(path, size), path

    def unshare(self, handle: str) -> None:
        Path(handle).unlink(missing_ok=True)

    def open_shared(self, handle: str, size: int) -> torch.Tensor:
        return torch.from_file(handle, shared=True, size=size, dtype=torch.uint8)

    def begin_peak(self) -> None:
        gc.collect()
        with contextlib.suppress(OSError):  # a kernel without it: the peak is that of the whole process
            Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
