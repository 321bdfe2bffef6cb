"""One gate at a time on a GPU: a lock that the kernel drops with the process that held it, however it ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from gate.errors import MACHINE_REMEDIES, UnfitEnvironmentError
from gate.machine import nvml
from gate.machine.clock_lock import ClockLock
from gate.records import GpuState

POLL_S = 0.2
SHARED_FOLDERS = (Path("/var/lock"), Path("/tmp"))  # noqa: S108  # no file here is trusted: see _open
EVERYONE = 0o666
SAID_BYTES = 100
SOMEONE = "another process"


@contextlib.contextmanager
def own_gpu(lock_clocks: bool, waiting: Callable[[str], None]) -> Iterator[Callable[[], GpuState]]:
    """The visible GPU, locked against other gates on this machine; yields how to look at it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(nvml.initialised())
        index = nvml.visible_index()
        stack.enter_context(gpu_lock(nvml.describe_gpu(index).uuid_hash, waiting))
        if lock_clocks:
            stack.enter_context(ClockLock(index))
        yield lambda: nvml.read_telemetry(index)


@contextlib.contextmanager
def gpu_lock(
    uuid_hash: str, waiting: Callable[[str], None], *, timeout_s: float | None = None, folder: Path | None = None
) -> Iterator[None]:
    """Holds the GPU of this hash; `waiting` is told who has it, at first and whenever that changes.

    Raises UnfitEnvironmentError after `timeout_s` of waiting (None waits for ever), or where the lock's file is not
    a plain file that this user may write. The file stays: removing it would let two in.
    """
    path = (folder or lock_folder()) / f"kernel-gate-{uuid_hash}.lock"
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, waiting, timeout_s)
        _sign(descriptor)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is just being started still has the descriptor
        os.close(descriptor)


def lock_folder() -> Path:
    """The same folder for every user of this machine, whoever asks: the first that everyone may write to."""
    return next(filter(_everyone_may_write, SHARED_FOLDERS), Path(tempfile.gettempdir()))


def _everyone_may_write(folder: Path) -> bool:
    """Whatever it is mounted as: in a container that cannot be changed, /var/lock often is read-only."""
    return folder.is_dir() and bool(folder.stat().st_mode & stat.S_IWOTH) and os.access(folder, os.W_OK)


def _open(path: Path) -> int:
    """The lock's file, made where it is missing; never through a link that someone planted there."""
    try:
        descriptor = _open_or_make(path)
    except OSError as error:
        remedy = MACHINE_REMEDIES.get(error.errno or 0, "remove it")
        raise UnfitEnvironmentError(f"cannot open the GPU's lock {path}: {error.strerror}; {remedy}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitEnvironmentError(f"the GPU's lock {path} is not a plain file; remove it")
    return descriptor


def _open_or_make(path: Path) -> int:
    """Opened without O_CREAT first: with it, fs.protected_regular refuses another user's file in a shared folder."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, EVERYONE)
    except FileExistsError:  # someone else was faster, or it is a link that leads nowhere
        return os.open(path, flags)
    os.fchmod(descriptor, EVERYONE)  # whatever the umask
    return descriptor


def _acquire(descriptor: int, path: Path, waiting: Callable[[str], None], timeout_s: float | None) -> None:
    started, told = time.monotonic(), None
    while not _try(descriptor):
        holder = _holder(descriptor)
        if timeout_s is not None and time.monotonic() - started >= timeout_s:
            raise UnfitEnvironmentError(
                f"{holder} still has the GPU after {timeout_s:.0f} s; wait until it ends, or end it ({path})"
            )
        if holder != told:
            waiting(f"waiting for the GPU: {holder} has it")
            told = holder
        time.sleep(POLL_S)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int) -> None:
    text = f"{os.getpid()} {datetime.now(UTC).isoformat(timespec='seconds')}\n"
    with contextlib.suppress(OSError):  # on a full disk, those who wait are not told who has it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    """Who wrote its number into the file. Anyone can write there: nothing but a number and a time is repeated."""
    pid, _, since = os.pread(descriptor, SAID_BYTES, 0).decode(errors="replace").strip().partition(" ")
    try:
        return f"process {int(pid)}, since {datetime.fromisoformat(since).isoformat(timespec='seconds')},"
    except ValueError:
        return SOMEONE
