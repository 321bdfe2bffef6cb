"""A lock that lets one Kernel Gate at a time use a GPU.

It is flock(2) on a file: the kernel releases it when the process that holds it ends, for whatever reason. It is
our own code because it reports who holds the GPU, and because another user's process may share the file.
"""

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
HOLDER_BYTES = 100
UNKNOWN_HOLDER = "another process"


@contextlib.contextmanager
def exclusive_gpu(lock_clocks: bool, waiting: Callable[[str], None]) -> Iterator[Callable[[], GpuState]]:
    """Locks the visible GPU against other Kernel Gates on this machine; yields a function that reads telemetry."""
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
    """Locks the GPU whose UUID has this hash. `waiting` gets a message with the holder, and again when it changes.

    Raises UnfitEnvironmentError after `timeout_s` seconds of waiting (None waits for ever), or if the lock file is
    not a regular file that this user may write. The file stays: after a removal, two processes could hold the lock.
    """
    path = (folder or lock_folder()) / f"kernel-gate-{uuid_hash}.lock"
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, waiting, timeout_s)
        _write_holder(descriptor)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is just being started still has the descriptor
        os.close(descriptor)


def lock_folder() -> Path:
    """The first of SHARED_FOLDERS that everyone may write to: the same folder for every user of this machine."""
    return next(filter(_everyone_may_write, SHARED_FOLDERS), Path(tempfile.gettempdir()))


def _everyone_may_write(folder: Path) -> bool:
    """Tests both mode and access: in a read-only container, /var/lock has the mode but refuses writes."""
    return folder.is_dir() and bool(folder.stat().st_mode & stat.S_IWOTH) and os.access(folder, os.W_OK)


def _open(path: Path) -> int:
    """Opens the lock file, or creates it. Follows no symbolic link: anyone can create one in a shared folder."""
    try:
        descriptor = _open_or_create(path)
    except OSError as error:
        remedy = MACHINE_REMEDIES.get(error.errno or 0, "remove it")
        raise UnfitEnvironmentError(f"cannot open the GPU's lock file {path}: {error.strerror}; {remedy}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnfitEnvironmentError(f"the GPU's lock file {path} is not a regular file; remove it")
    return descriptor


def _open_or_create(path: Path) -> int:
    """Opens without O_CREAT first: with it, fs.protected_regular refuses another user's file in a shared folder."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, EVERYONE)
    except FileExistsError:  # another process was faster, or it is a dangling symbolic link
        return os.open(path, flags)
    os.fchmod(descriptor, EVERYONE)  # whatever the umask
    return descriptor


def _acquire(descriptor: int, path: Path, waiting: Callable[[str], None], timeout_s: float | None) -> None:
    started, reported_holder = time.monotonic(), None
    while not _try(descriptor):
        holder = _holder(descriptor)
        if timeout_s is not None and time.monotonic() - started >= timeout_s:
            raise UnfitEnvironmentError(
                f"{holder} still uses the GPU after {timeout_s:.0f} s; wait until it ends, or end it (lock: {path})"
            )
        if holder != reported_holder:
            waiting(f"waiting for the GPU: {holder} uses it")
            reported_holder = holder
        time.sleep(POLL_S)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int) -> None:
    text = f"{os.getpid()} {datetime.now(UTC).isoformat(timespec='seconds')}\n"
    with contextlib.suppress(OSError):  # on a full disk, the lock works without the holder's name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    """The process named in the file. Anyone can write to it, so only a process id and a time are repeated."""
    pid, _, since = os.pread(descriptor, HOLDER_BYTES, 0).decode(errors="replace").strip().partition(" ")
    try:
        return f"process {int(pid)}, since {datetime.fromisoformat(since).isoformat(timespec='seconds')},"
    except ValueError:
        return UNKNOWN_HOLDER
