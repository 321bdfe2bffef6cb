"""Files and folders as digests. Only plain files are opened and bounded amounts read, whoever named them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

MAX_FILE_BYTES = 64 << 20
MAX_FOLDER_BYTES = 1 << 30
MAX_FOLDER_FILES = 20_000
MAX_NAMES = 100_000
NEVER_READ = ("__pycache__", ".git")
"""Bytecode is not loaded from there (gate/runtime/implementations.py), and no compiler looks into the other."""
EDITORS_LOCK = ".#"
"""How the names of Emacs's locks begin: links to nothing, on purpose."""
OUTPUTS = (
    ".csv", ".d", ".html", ".json", ".jsonl", ".log", ".md", ".o", ".png", ".py", ".pyc", ".svg", ".swp", "~",
)  # fmt: skip
"""Ends of names that tools write beside headers, and that nobody includes."""
HIDDEN = (".", "__pycache__")
KINDS = {
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFDIR: "is a folder",
}
ABSENT = "absent"


class NotReadableError(Exception):
    """A file that cannot be read whole, or must not be; its text names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")


def read_file(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a plain file of at most `limit` bytes. Raises NotReadableError for all else; never waits."""
    try:
        _require_plain(path, path.stat(), limit)  # before it is opened: to open a device can do something
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            seen = os.fstat(file.fileno())
            _require_plain(path, seen, limit)
            content = file.read(seen.st_size + 1)
    except OSError as error:
        raise NotReadableError(path, _reason(path, error)) from error
    if len(content) > seen.st_size:  # as /proc/self/pagemap: no bytes by its size, and no end
        raise NotReadableError(path, "holds more than its size says, and is no plain file")
    return content


def _require_plain(path: Path, seen: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise NotReadableError(path, KINDS.get(stat.S_IFMT(seen.st_mode), "is no plain file"))
    if seen.st_size > limit:
        raise NotReadableError(path, f"holds {seen.st_size >> 20} MB; at most {limit >> 20} MB are read")


def _reason(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if error.errno == errno.ENOENT and path.is_symlink():
        return "is a link to nothing"
    return f"cannot be read: {error.strerror}"


def require_plain(path: Path) -> None:
    """Raises NotReadableError for what is there and is no plain file, or has no end."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # nothing is there, or it is no path: a compiler will say so
        return
    _require_plain(path, status, status.st_size)
    if status.st_size == 0:
        read_file(path)


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below, by its path from there, with its content.

    Raises NotReadableError for a file that cannot be read whole, and for a folder without bounds.
    """
    left_bytes, left_files = MAX_FOLDER_BYTES, MAX_FOLDER_FILES
    for name in _files_below(folder):
        content = read_file(folder / name)
        left_bytes, left_files = left_bytes - len(content), left_files - 1
        if min(left_bytes, left_files) < 0:
            most = f"{MAX_FOLDER_FILES} files or {MAX_FOLDER_BYTES >> 30} GB"
            raise NotReadableError(folder, f"holds more than {most}; keep there what the candidate needs alone")
        yield name, content


def _files_below(folder: Path) -> Iterator[str]:
    """Paths from `folder`, in one order everywhere; a folder that is reached twice is listed once."""
    waiting, known = [""], set()
    while waiting:
        place = waiting.pop(0)
        here = folder / place
        identity = _identity(here)
        if identity not in known:
            known.add(identity)
            for name in _names(here):
                path = str(Path(place, name))
                if (folder / path).is_dir():
                    waiting.append(path)
                elif not name.startswith(EDITORS_LOCK):
                    yield path


def _names(folder: Path) -> list[str]:
    try:
        return sorted({path.name for path in folder.iterdir()} - set(NEVER_READ))
    except OSError as error:
        raise NotReadableError(folder, _reason(folder, error)) from error


def _identity(path: Path) -> tuple[int, int]:
    seen = path.stat()
    return seen.st_dev, seen.st_ino


def digest_input(path: Path) -> str:
    """Of a file that a compiler read: its content; of a larger one, as CUDA's libraries are, size and time of change.

    "absent" where there is none, and the reason where it is no plain file.
    """
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except NotReadableError as error:
        try:
            seen = path.stat()
        except OSError:
            return ABSENT
        return f"{seen.st_size} {seen.st_mtime_ns}" if stat.S_ISREG(seen.st_mode) else str(error)


def digest_names(folder: Path) -> str:
    """Of the names of all that can be included from a folder that a compiler searches; "absent" where there is none.

    A new file can take another's place, or be what __has_include asks for. Other candidates' folders do not count,
    nor what no compiler reads; of a folder without bounds, the first MAX_NAMES names do.
    """
    if not folder.is_dir():
        return ABSENT
    names = islice(_includable(str(folder)), MAX_NAMES)
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()


def _includable(root: str) -> Iterator[str]:
    """Paths from `root`, breadth first."""
    waiting, known = [root], set[tuple[int, int]]()
    while waiting:
        folder = waiting.pop(0)
        entries = _entries(folder, known)
        if folder == root or all(entry.name != "kernel.toml" for entry in entries):
            for entry in entries:
                if _is_folder(entry):
                    waiting += [] if entry.name.startswith(HIDDEN) else [entry.path]
                elif not entry.name.endswith(OUTPUTS):
                    yield entry.path[len(root) :]


def _entries(folder: str, known: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """Sorted; none of a folder that cannot be read, or that is known already."""
    try:
        identity = _identity(Path(folder))
        if identity in known:
            return []
        known.add(identity)
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
