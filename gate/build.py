"""Candidate to Build: a cache keyed by everything that could change the library, safe under two builds at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from gate.errors import GateError, UnfitEnvironmentError
from gate.files import from_json, to_json, write_record
from gate.machine import compiler_command, processor_flags, said_by
from gate.messages import Compilation, Compiled
from gate.records import Build, Status
from gate.registry import Candidate
from gate.workers import WorkerServer

RECORD = "build.json"
INCLUDE = Path(__file__).with_name("include")
"""Where attention.h is, for candidates of other repositories."""


def cache_root() -> Path:
    """Where builds are kept: KERNEL_GATE_CACHE, or the user's cache folder."""
    chosen = os.environ.get("KERNEL_GATE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(chosen) if chosen else Path(base) / "kernel-gate"


def cached_build(candidate: Candidate) -> Build | None:
    """The finished build of exactly these sources, or None. Python candidates need none."""
    started = time.perf_counter()
    key = build_key(candidate)
    if not candidate.compiled:
        return Build(candidate.name, Status.OK, key=key, cached=True)
    library = cache_root() / key / _library(candidate)
    found = _recorded(library.with_name(RECORD))
    if found is None or not library.is_file():
        return None
    return replace(found, cached=True, seconds=time.perf_counter() - started, library=str(library))


def _recorded(path: Path) -> Build | None:
    """The record of a finished build; None where there is none, or none that can be read: it is built anew."""
    try:
        return from_json(Build, path.read_text(), str(path))
    except (OSError, UnicodeDecodeError, GateError):
        return None


def build(candidate: Candidate, server: WorkerServer, limit_s: float) -> Build:
    """The candidate's library, from the cache or newly made. A failed build is not cached."""
    done = cached_build(candidate)
    if done is not None:
        return done
    key = build_key(candidate)
    with _locked(key):
        return cached_build(candidate) or _make(candidate, key, server, limit_s)


def build_key(candidate: Candidate) -> str:
    """A hash of the candidate's folder, the shared headers beside it, its flags, the compiler and torch."""
    digest = hashlib.sha256()
    for base, files in _inputs(candidate):
        for path in sorted(files):
            digest.update(f"{path.relative_to(base)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    if candidate.compiled:  # -march=native means another thing on another processor
        digest.update(f"{compiler_version()}\0{version('torch')}\0{processor_flags()}".encode())
    return f"{candidate.name}-{digest.hexdigest()[:24]}"


def _inputs(candidate: Candidate) -> Iterator[tuple[Path, list[Path]]]:
    """Folders, and the files in each that the compiler may read; where the folders lie does not matter."""
    inside = candidate.folder.rglob("*")
    yield candidate.folder, [path for path in inside if path.is_file() and "__pycache__" not in path.parts]
    yield candidate.folder.parent, list(candidate.folder.parent.glob("*.h"))
    yield INCLUDE, list(INCLUDE.glob("*.h"))


def compiler() -> str:
    """The C++ compiler's command. Raises UnfitEnvironmentError where there is none."""
    chosen = compiler_command()
    if shutil.which(chosen.split()[0]) is None:
        raise UnfitEnvironmentError(f"no C++ compiler ({chosen}); install one (apt-get install g++) or set CXX")
    return chosen


def compiler_version() -> str:
    """The first line of what the compiler says of itself."""
    return said_by(*compiler().split(), "--version") or "unknown"


def _make(candidate: Candidate, key: str, server: WorkerServer, limit_s: float) -> Build:
    """Compiles in a folder of its own, and renames it into the cache as a whole."""
    root = cache_root()
    with tempfile.TemporaryDirectory(dir=root, prefix=f"{key}.", ignore_cleanup_errors=True) as scratch:
        compiled, seconds = _compile(candidate, scratch, server, limit_s)
        if isinstance(compiled, Build):
            return compiled
        if compiled.library is None:
            return replace(_failed(candidate, compiled.message), key=key, seconds=seconds, log=compiled.log)
        final = root / key
        made = Build(candidate.name, Status.OK, key=key, seconds=seconds, library=str(final / _library(candidate)))
        write_record(Path(scratch) / RECORD, made)
        shutil.rmtree(final, ignore_errors=True)  # half of a build that an older version left
        Path(scratch).rename(final)
    return made


def _library(candidate: Candidate) -> str:
    return f"lib{candidate.name}.so"


def _compile(
    candidate: Candidate, scratch: str, server: WorkerServer, limit_s: float
) -> tuple[Compiled | Build, float]:
    asked = Compilation(
        name=candidate.name,
        sources=tuple(str(candidate.folder / source) for source in candidate.sources),
        include=(str(candidate.folder.parent), str(INCLUDE)),
        flags=candidate.flags,
        link_flags=candidate.link_flags,
        directory=scratch,
    )
    ending = server.call({"kind": "compile", "request": to_json(asked)}, limit_s)
    if ending.status is Status.TIMED_OUT:
        return Build(candidate.name, Status.TIMED_OUT, f"the build {ending.message}"), ending.seconds
    if ending.status is not Status.OK:
        return _failed(candidate, f"the build {ending.message}: {ending.last_words}"), ending.seconds
    try:
        return from_json(Compiled, ending.reply, "the build's answer"), ending.seconds
    except GateError as error:
        return _failed(candidate, str(error)), ending.seconds


def _failed(candidate: Candidate, message: str) -> Build:
    return Build(candidate.name, Status.BUILD_FAILED, message)


@contextmanager
def _locked(key: str) -> Iterator[None]:
    """One build a key at a time, on this machine. The kernel drops the lock of a process that dies.

    Raises UnfitEnvironmentError where the cache cannot be written.
    """
    path = cache_root() / "locks" / key
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        reason = f"cannot write the build cache at {path}: {error.strerror}"
        raise UnfitEnvironmentError(f"{reason}; set KERNEL_GATE_CACHE to a folder that can be written") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
