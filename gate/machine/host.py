"""Facts about this machine from the operating system. No torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from gate.machine.programs import run_program

FALLBACK_L2_BYTES = 2 << 20


def cpu_model() -> str:
    """The processor's model name, from /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def l2_bytes() -> int:
    """The size of one core's L2 cache, in bytes."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
    except OSError:
        return FALLBACK_L2_BYTES
    return int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20}[text[-1]]


def compiler_command() -> str:
    """The command of the C++ compiler: CXX, or `c++` if CXX is unset or empty."""
    return os.environ.get("CXX") or "c++"


def memory_bytes() -> int:
    """The size of physical memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def first_output_line(*command: str) -> str | None:
    """The first line that a program prints on standard output; None if the program is absent or fails."""
    try:
        done = run_program(command)
        output = done.stdout.decode()
    except (OSError, UnicodeDecodeError):
        return None
    return output.strip().partition("\n")[0] if done.returncode == 0 else None


def processor_flags() -> str:
    """The processor's instruction sets: one line of /proc/cpuinfo, empty if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
