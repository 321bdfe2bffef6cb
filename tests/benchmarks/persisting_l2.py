"""Does data that a kernel asked L2 to keep survive Kernel Gate's flush? Prints times with and without the reset.

Run: python -m tests.benchmarks.persisting_l2     (on a CUDA device of compute capability 8.0 or later)

A stream may mark a window of memory as persisting (CUDA C Programming Guide, "L2 access management"): its lines are
evicted last, so that the next call finds its inputs in cache although the flush touched all of it.
"""

import ctypes
import statistics

import torch

from gate.runtime.device import open_device

WINDOW_BYTES = 8 << 20
TIMINGS = 60
STREAM_ATTRIBUTE_ACCESS_POLICY_WINDOW = 1  # cudaStreamAttrID
NORMAL, STREAMING, PERSISTING = 0, 1, 2  # cudaAccessProperty
LIMIT_PERSISTING_L2 = 6  # cudaLimit


class Window(ctypes.Structure):
    """cudaAccessPolicyWindow, padded to the size of cudaStreamAttrValue."""

    _fields_ = (
        ("base", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("hit_ratio", ctypes.c_float),
        ("hit", ctypes.c_int), ("miss", ctypes.c_int), ("padding", ctypes.c_char * 64),
    )  # fmt: skip


class NoReset:
    """Stands for the driver of a device that does not reset persisting lines."""

    def cuCtxResetPersistingL2Cache(self):  # noqa: N802
        return 0


def runtime() -> ctypes.CDLL:
    """The CUDA runtime that torch has loaded."""
    with open("/proc/self/maps") as maps:  # noqa: PTH123
        path = next(line.split()[-1] for line in maps if "libcudart" in line)
    return ctypes.CDLL(path)


def ask_to_persist(memory: torch.Tensor, stream: int) -> None:
    """Marks `memory` as persisting for whatever runs in `stream`."""
    cuda = runtime()
    code = cuda.cudaDeviceSetLimit(LIMIT_PERSISTING_L2, ctypes.c_size_t(memory.numel()))
    window = Window(memory.data_ptr(), memory.numel(), 1.0, PERSISTING, STREAMING)
    attribute = STREAM_ATTRIBUTE_ACCESS_POLICY_WINDOW
    code = code or cuda.cudaStreamSetAttribute(ctypes.c_void_p(stream), attribute, ctypes.byref(window))
    if code:
        raise SystemExit(f"this device cannot hold lines in L2: CUDA error {code}")


def median_us(device, launch) -> float:
    times = [device.time(launch, lambda: None)[0] for _ in range(TIMINGS)]
    return 1e3 * statistics.median(times[10:])


def main() -> None:
    device = open_device("cuda")
    memory = torch.empty(WINDOW_BYTES, dtype=torch.uint8, device="cuda").random_(0, 256)

    def launch() -> torch.Tensor:
        return memory.view(torch.int64).sum()

    plain = median_us(device, launch)
    ask_to_persist(memory, device.stream)
    driver = device._driver
    device._driver = NoReset()
    kept = median_us(device, launch)
    device._driver = driver
    reset = median_us(device, launch)
    print(f"a sum over {WINDOW_BYTES >> 20} MiB after a flush: {plain:.2f} µs")
    print(f"  marked as persisting, L2 not reset: {kept:.2f} µs ({kept / plain:.2f} of it)")
    print(f"  marked as persisting, L2 reset as Kernel Gate does: {reset:.2f} µs ({reset / plain:.2f} of it)")


if __name__ == "__main__":
    main()
