"""What a candidate's process may not do to the rest of the machine, as far as Linux offers that without privileges.

    not dumpable        the servers and the witness themselves: who has no capability for it cannot trace them, nor
                        read their memory or environment in /proc (prctl(2), PR_SET_DUMPABLE)
    no new privileges   sudo and other set-uid programs stay without effect
    no capabilities     of those by which root could trace, signal, set clocks, load modules or make files immutable
    Landlock, ABI 2     files are written in few places only; no process outside can be traced, nor its memory or
                        environment read in /proc, not even by root
    Landlock, ABI 6     no process outside can be signalled

Landlock came to Linux with 5.13; ABI 2 with 5.19, ABI 6 with 6.12 (docs.kernel.org/userspace-api/landlock.html).
Where a kernel has less, that much less is kept out: docs/security.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from gate.machine.programs import run_program

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION_FLAG, RULE_PATH_BENEATH = 1, 1  # linux/landlock.h, as all that follows
MIN_ABI, SIGNAL_ABI = 2, 6  # with 1, nothing can be renamed into another folder
WRITE_FILE, TRUNCATE = 1 << 1, 1 << 14
CHANGES = WRITE_FILE | sum(1 << bit for bit in range(4, 14))  # removing, making, and moving (ABI 2)
TRUNCATE_ABI, SCOPE_SIGNAL = 3, 1 << 1
# Abstract sockets are not scoped: CUDA shares memory between processes over them.

CAPABILITY_VERSION = 0x20080522  # linux/capability.h, as the numbers
KILL, LINUX_IMMUTABLE, NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN = 5, 9, 12, 16, 17, 19, 21
SYS_BOOT, SYS_NICE, SYS_RESOURCE, SYS_TIME, MKNOD, PERFMON, BPF = 22, 23, 24, 25, 27, 38, 39
DROPPED = (
    KILL, LINUX_IMMUTABLE, NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, SYS_NICE, SYS_RESOURCE,
    SYS_TIME, MKNOD, PERFMON, BPF,
)  # fmt: skip

MADE_CACHES, OTHER_CACHES = (".triton", ".nv"), (".cache/torch",)
"""Below the home: what compilers and the driver keep from one process to the next."""


def landlock_abi() -> int:
    """The version that this kernel has; 0 where it has none, or forbids it."""
    return max(0, _syscall(CREATE_RULESET, None, 0, VERSION_FLAG))


def conceal(hidden: bool = True) -> None:
    """Hides this process, and what it forks, from others of the same user; or shows it again."""
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(not hidden), 0, 0, 0)


def confine(directories: Iterable[str] = (), kept: Collection[int] = ()) -> int:
    """Confines this process and all that it starts; returns the ABI that was used, 0 for none.

    What is written goes to `directories`, devices and caches; of the capabilities, those in `kept` stay. For good:
    there is no way back.
    """
    _give_up_privileges(kept)
    abi = landlock_abi()
    if abi < MIN_ABI:
        return 0
    rights = CHANGES | (TRUNCATE if abi >= TRUNCATE_ABI else 0)
    ruleset = _ruleset(rights, SCOPE_SIGNAL if abi >= SIGNAL_ABI else 0)
    for folder in (*directories, "/dev", "/proc", *_caches()):
        with contextlib.suppress(OSError):  # it is not there
            _allow(ruleset, rights, folder)
    done = _syscall(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return abi if done == 0 else 0


def prepare_driver() -> None:
    """Lets the driver make its devices: its own helper for that is set-uid, and a confined process cannot use it."""
    helper = shutil.which("nvidia-modprobe")
    if helper and Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidia-uvm").exists():
        run_program([helper, "-u", "-c=0"])


def _give_up_privileges(kept: Collection[int] = ()) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_capabilities(set(DROPPED) - set(kept))


def _drop_capabilities(numbers: Iterable[int]) -> None:
    """By struct __user_cap_data_struct[2]: effective, permitted and inheritable, the lower 32 bits first."""
    header, held = struct.pack("Ii", CAPABILITY_VERSION, 0), ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None)
    if libc.capget(header, held) == 0:
        dropped = sum(1 << number for number in numbers)
        words = [dropped & 0xFFFFFFFF] * 3 + [dropped >> 32] * 3
        kept = [word & ~gone for word, gone in zip(struct.unpack("6I", held.raw), words, strict=True)]
        libc.capset(header, struct.pack("6I", *kept))


def _caches() -> list[str]:
    """Made where they are to be allowed: what is not there has no rule."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111  # Path.home() raises for a user without one
    for name in MADE_CACHES:
        with contextlib.suppress(OSError):
            (home / name).mkdir(exist_ok=True)
    return [str(home / name) for name in (*MADE_CACHES, *OTHER_CACHES)]


def _ruleset(rights: int, scoped: int) -> int:
    """By struct landlock_ruleset_attr: rights on files, on the network (none is handled), and scopes."""
    attributes = struct.pack("QQQ", rights, 0, scoped)[: 24 if scoped else 8]
    return _syscall(CREATE_RULESET, attributes, len(attributes), 0)


def _allow(ruleset: int, rights: int, folder: str) -> None:
    parent = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        _syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", rights, parent), 0)
    finally:
        os.close(parent)


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    return int(call(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))
