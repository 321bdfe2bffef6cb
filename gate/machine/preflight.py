"""Checks the machine before a run: writable folders, free space, shared memory, and the user's limits.

A machine fault then costs no time, is reported in one line with its remedy, and is never blamed on a candidate.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from platformdirs import user_cache_path

from gate.errors import UnfitEnvironmentError
from gate.machine.scratch import parent_folder
from gate.settings.model import LimitSettings

MIB = 1 << 20
CACHE_BYTES, TEMPORARY_BYTES = 64 * MIB, 64 * MIB
SHARED_BYTES = 256 * MIB
"""Two pieces of gate.runtime.device.cpu.MAX_SHARED_BYTES: where the witness meets the candidate on a CPU."""
SHARED = Path("/dev/shm")  # noqa: S108  # memory and not a disk, where there is such a place
OPEN_FILES, PROCESSES, ADDRESSES = 128, 64, 4096 * MIB
"""The least of each that a run works with, on two processors."""
CPU_S = 3600
PROBE = bytes(1 << 12)


def require_fit_machine(limits: LimitSettings, device: str) -> None:
    """Raises UnfitEnvironmentError with the first fault."""
    for fault in faults(limits, device):
        raise UnfitEnvironmentError(fault)


def faults(limits: LimitSettings, device: str) -> Iterator[str]:
    """Messages with all faults that keep a run from working on this machine, and their remedies."""
    checks: tuple[Callable[[], Iterable[str]], ...] = (
        temporary_folder_faults,
        cache_folder_faults,
        lambda: shared_memory_faults() if device == "cpu" else (),
        lambda: user_limit_faults(limits),
    )
    for check in checks:
        yield from check()


def temporary_folder_faults() -> Iterator[str]:
    """Faults of the temporary folder: TMPDIR's, or the system's."""
    chosen = os.environ.get("TMPDIR")
    if chosen and not os.access(f"{chosen}/.", os.F_OK):
        yield f"TMPDIR names {chosen}, which is no folder that can be used; make it, or unset TMPDIR"
        return
    try:
        used = parent_folder()
    except OSError:
        yield "no temporary folder can be written (/tmp, /var/tmp); free some space, or set TMPDIR to one that can be"
        return
    for folder in dict.fromkeys((chosen or used, used)):
        yield from _unusable("the temporary folder", Path(folder), TEMPORARY_BYTES, "TMPDIR")


def full_disk() -> str | None:
    """The fault of the temporary folder or the build cache, if they cannot be written now; else None."""
    return next((fault for look in (temporary_folder_faults, cache_folder_faults) for fault in look()), None)


def cache_root() -> Path:
    """Where builds are kept: KERNEL_GATE_CACHE, or the user's cache folder. Raises UnfitEnvironmentError."""
    chosen = os.environ.get("KERNEL_GATE_CACHE")
    if chosen:
        return Path(chosen)
    with contextlib.suppress(RuntimeError):  # no home folder
        root = user_cache_path("kernel-gate")
        if root.is_absolute():
            return root
    raise UnfitEnvironmentError(
        "this user has no home folder (HOME is not set); set HOME, or KERNEL_GATE_CACHE to a folder for builds"
    )


def cache_folder_faults() -> Iterator[str]:
    """Whether builds can be kept; the folder itself is made later."""
    try:
        root = cache_root()
    except UnfitEnvironmentError as error:
        yield str(error)
        return
    yield from _unusable("the build cache", root, CACHE_BYTES, "KERNEL_GATE_CACHE")


def _unusable(what: str, folder: Path, needed: int, variable: str) -> Iterator[str]:
    """Why nothing can be written below the folder, or not enough; asked of the part of its path that exists."""
    remedy = f"set {variable} to another folder"
    there = next(path for path in (folder, *folder.absolute().parents) if os.access(path, os.F_OK))
    try:
        with tempfile.TemporaryFile(dir=there, buffering=0) as file:
            file.write(PROBE)
        free = shutil.disk_usage(there).free
    except OSError as error:
        yield f"{what} {folder} cannot be written ({error.strerror}); {remedy}"
        return
    if free < needed:
        yield f"{what} {folder} has {free // MIB} MiB free, and {needed // MIB} are needed; free some, or {remedy}"


def shared_memory_faults() -> Iterator[str]:
    """Faults of the memory that the witness shares with the candidate."""
    if shared_memory_folder(SHARED_BYTES) is None:
        needed = f"{SHARED_BYTES // MIB} MiB are needed in one of them"
        enlarge = "enlarge the first (mount -o remount,size=512m; docker run --shm-size=512m), or set TMPDIR"
        free = " and ".join(f"{folder} has {_free(folder) // MIB} MiB free" for folder in _for_sharing())
        yield f"{free}: {needed} to share memory; {enlarge}"


def shared_memory_folder(size: int) -> Path | None:
    """A folder in which two processes can share `size` bytes: in memory, else on the temporary disk; else None."""
    return next((folder for folder in _for_sharing() if _is_writable(folder) and _free(folder) >= size), None)


def _for_sharing() -> tuple[Path, Path]:
    return SHARED, Path(parent_folder())


def _free(folder: Path) -> int:
    """In bytes, for this user."""
    return shutil.disk_usage(folder).free if _is_writable(folder) else 0


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def user_limit_faults(limits: LimitSettings) -> Iterator[str]:
    """Faults of the user's limits (ulimit); soft limits are raised here if the hard ones allow it."""
    free_processes = PROCESSES + 4 * len(os.sched_getaffinity(0))
    processes = 0 if os.geteuid() == 0 else _threads_of_user() + free_processes  # it does not bind root
    for number, needed, name, flag in (
        (resource.RLIMIT_NOFILE, OPEN_FILES, "open files", "n"),
        (resource.RLIMIT_NPROC, processes, "processes and threads of this user", "u"),
        (resource.RLIMIT_FSIZE, limits.file_mb * MIB, "bytes in a file (limits.file_mb)", "f"),
        (resource.RLIMIT_AS, ADDRESSES, "bytes of address space", "v"),
        (resource.RLIMIT_CPU, CPU_S, "seconds of processor time", "t"),
    ):
        if not _raised(number, needed):
            soft = resource.getrlimit(number)[0]
            yield f"the limit of {name} is {soft}, and {needed} are needed; raise it (ulimit -{flag})"


def _raised(number: int, needed: int) -> bool:
    soft, hard = resource.getrlimit(number)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return True
    if hard != resource.RLIM_INFINITY and hard < needed:
        return False
    resource.setrlimit(number, (needed, hard))
    return True


def _threads_of_user() -> int:
    """The user's threads, as the kernel counts them against RLIMIT_NPROC."""
    count = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid == os.geteuid():
                count += len(list((path / "task").iterdir()))
        except OSError:  # it ended meanwhile
            continue
    return count
