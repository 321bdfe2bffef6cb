"""The CPU device: the same interface on a machine with no GPU."""

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
"""torch's CPU generator uses 32 bits of its seed, and its outputs reveal its state: NumPy's PCG64 is used instead."""
RANDOM_CHUNK = 1 << 15


class CpuDevice(Device):
    """Times calls with a monotonic clock, after it flushed the cores' private caches.

    It does not flush the last-level cache, which is often larger than any workload and which, on a virtual machine,
    other machines share.
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
    def max_shared_bytes(self) -> int:
        return MAX_SHARED_BYTES

    def capture(self, launch: Launch) -> Captured:
        return Captured(launch)

    def time(self, launch: Launch, prepare: Callable[[], None]) -> tuple[float, torch.Tensor]:
        prepare()
        self._scratch.add_(1.0)  # reads and writes every line, on all threads
        started = time.perf_counter_ns()
        output = launch()
        elapsed_ms = (time.perf_counter_ns() - started) / 1e6
        return elapsed_ms, output.clone()  # the copy excludes what a thread writes later

    def synchronize(self) -> None:
        pass

    def empty_launch(self) -> Callable[[], None]:
        return lambda: None

    def fill_unpredictable(self, tensor: torch.Tensor) -> None:
        generator = np.random.default_rng(secrets.randbits(SEED_BITS))
        for part in torch.split(tensor.view(-1), RANDOM_CHUNK):
            part.copy_(torch.from_numpy(generator.standard_normal(part.numel(), dtype=np.float32)))

    def share(self, size: int, folder: Path) -> tuple[torch.Tensor, str]:
        handle, path = tempfile.mkstemp(dir=folder)
        try:
            os.posix_fallocate(handle, 0, size)  # without it, a full disk would kill the process at a later write
        finally:
            os.close(handle)
        return self.open_shared(path, size), path

    def unshare(self, handle: str) -> None:
        Path(handle).unlink(missing_ok=True)

    def open_shared(self, handle: str, size: int) -> torch.Tensor:
        return torch.from_file(handle, shared=True, size=size, dtype=torch.uint8)

    def reset_peak(self) -> None:
        gc.collect()
        with contextlib.suppress(OSError):  # not supported by this kernel: the peak covers the whole process
            Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
