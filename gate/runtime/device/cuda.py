"""The CUDA device: CUDA events around a graph replay that is queued behind a spin kernel, on a separate stream.

One timing consists of, in stream order:

    flush L2 · spin · poison the output · start event · the launch · end event · copy of the output

The spin keeps the stream busy until the host has queued the rest: the events exclude host latency. The poison (NaN)
follows the spin: it overwrites what a side stream wrote too early. The copy follows the end event: it excludes what a
side stream writes too late, and it is the output that gets checked.
"""

from __future__ import annotations

import base64
import ctypes
import gc
import secrets
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import torch
import torch.multiprocessing  # teaches ForkingPickler to share CUDA memory

from gate.errors import UnfitEnvironmentError
from gate.runtime.device.base import Captured, CaptureError, Device, Launch

FLUSH_FACTOR = 4
MIN_FLUSH_BYTES = 256 << 20
FIRST_SPIN_CYCLES = 200_000  # about 0.1 ms
MAX_SPIN_CYCLES = 40_000_000  # about 20 ms; a launch that waits for the device is timed including the wait
WARM_UPS = 3
SHARED_PART = 32
"""The divisor of the GPU's memory. The witness holds three such parts, and SDPA's outputs (in and before a graph), in
two processes: a quarter of a part each. 1/32 is 4.4 GB on an H200, batches of 3 ms and more; 0.7 GB on an L4."""
CACHED_PART = 16
"""The divisor of the GPU's memory: at most this part may stay in torch's cache during a capture."""
SEGMENT_BYTES = 2 << 20
MIN_SEGMENT_BYTES = 32 << 20
"""torch's allocator puts several tensors below 10 MiB into one segment; larger ones get multiples of 2 MiB each."""


class CudaDevice(Device):
    """The current CUDA device. Raises UnfitEnvironmentError if torch finds none."""

    kind = "cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise UnfitEnvironmentError("torch finds no CUDA device; run `kernel-gate doctor --device cuda`")
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        torch.cuda.set_stream(self._stream)
        size = max(FLUSH_FACTOR * torch.cuda.get_device_properties().L2_cache_size, MIN_FLUSH_BYTES)
        self._scratch = torch.empty(size, dtype=torch.uint8, device="cuda")
        self._start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._spin_cycles = FIRST_SPIN_CYCLES
        self._driver = ctypes.CDLL("libcuda.so.1")

    @property
    def name(self) -> str:
        return torch.cuda.get_device_name()

    @property
    def torch_device(self) -> torch.device:
        return self._scratch.device

    @property
    def max_shared_bytes(self) -> int:
        return torch.cuda.get_device_properties(self.torch_device).total_memory // SHARED_PART

    @property
    def stream(self) -> int:
        return self._stream.cuda_stream

    def capture(self, launch: Launch) -> Captured:
        for _ in range(WARM_UPS):  # modules, compiled code and handles are created before the capture
            launch()
        self.synchronize()
        self._free_cached_memory()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(self._stream):
                output = _record(graph, launch)
        except Exception as error:  # a candidate may raise anything; a broken call also fails without a graph
            raise CaptureError(str(error).partition("\n")[0]) from error

        def replay() -> torch.Tensor:
            graph.replay()
            return output

        return Captured(replay, output)

    def _free_cached_memory(self) -> None:
        """A graph has a separate memory pool and cannot use torch's cache. Emptying it takes 20 ms: only if large."""
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        if cached > torch.cuda.get_device_properties(self.torch_device).total_memory // CACHED_PART:
            torch.cuda.empty_cache()

    def time(self, launch: Launch, prepare: Callable[[], None]) -> tuple[float, torch.Tensor]:
        while True:
            output, queued_in_time = self._queue(launch, prepare)
            self.synchronize()
            if queued_in_time or self._spin_cycles >= MAX_SPIN_CYCLES:
                return self._start.elapsed_time(self._end), output
            self._spin_cycles *= 2

    def _queue(self, launch: Launch, prepare: Callable[[], None]) -> tuple[torch.Tensor, bool]:
        """Queues one timing: the copy of the output, and whether all was queued before the start event happened."""
        self._driver.cuCtxResetPersistingL2Cache()
        self._scratch.zero_()
        _spin(self._spin_cycles)
        prepare()
        self._start.record()
        output = launch()
        self._end.record()
        return output.clone(), not self._start.query()  # type: ignore[no-untyped-call]

    def time_batch(self, launch: Launch, count: int) -> tuple[float, float]:
        self.synchronize()
        started = time.perf_counter_ns()
        self._start.record()
        for _ in range(count):
            launch()
        self._end.record()
        self.synchronize()
        return self._start.elapsed_time(self._end), (time.perf_counter_ns() - started) / 1e6

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def empty_launch(self) -> Callable[[], None]:
        return lambda: _spin(0)

    def fill_unpredictable(self, tensor: torch.Tensor) -> None:
        tensor.normal_(generator=torch.Generator(self.torch_device).manual_seed(secrets.randbits(62)))

    def share(self, size: int, folder: Path) -> tuple[torch.Tensor, str]:  # noqa: ARG002
        memory = self.allocate(whole_segment(size))[:size]
        return memory, base64.b64encode(ForkingPickler.dumps(memory)).decode()

    def open_shared(self, handle: str, size: int) -> torch.Tensor:  # noqa: ARG002
        memory: torch.Tensor = ForkingPickler.loads(base64.b64decode(handle))  # only the trusted side sends handles
        return memory

    def reset_peak(self) -> None:
        gc.collect()
        torch.cuda.ipc_collect()  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated() - self._scratch.numel()


def _record(graph: torch.cuda.CUDAGraph, launch: Launch) -> torch.Tensor:
    """Like torch.cuda.graph, which also empties torch's cache every time: 20 of its 22 ms on an H200."""
    graph.capture_begin()
    try:
        return launch()
    finally:
        graph.capture_end()


def whole_segment(size: int) -> int:
    """`size`, rounded up to what torch's allocator reserves from the driver for one tensor alone, in bytes."""
    return max(MIN_SEGMENT_BYTES, -(-size // SEGMENT_BYTES) * SEGMENT_BYTES)


def _spin(cycles: int) -> None:
    """Launches a kernel that spins for `cycles` GPU cycles; torch has no public function for it."""
    torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
