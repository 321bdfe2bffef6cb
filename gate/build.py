"""Candidate to Build: a cache keyed by everything that could change the library, safe under two builds at once."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gate.architectures import choose_architectures, wanted_architectures
from gate.buildkey import INCLUDE, build_key
from gate.cuda_tools import REMEDIES, find_tool
from gate.errors import GateError, UnfitEnvironmentError, machine_fault_in
from gate.files import from_json, to_json, write_record
from gate.launches import size_of
from gate.messages import Compilation, Compiled
from gate.preflight import cache_root, full_disk
from gate.records import Build, KernelResources, Status
from gate.registry import Candidate, syntax_fault
from gate.workers import WorkerServer

RECORD = "build.json"


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What is to be built: enough to find it in the cache, or to make it."""

    candidate: Candidate
    architectures: tuple[str, ...]
    key: str

    @property
    def library(self) -> Path:
        """Where the finished library is, or will be."""
        return cache_root() / self.key / f"lib{self.candidate.name}.so"


def build(candidate: Candidate, server: WorkerServer, limit_s: float, asked: Sequence[str] = ()) -> Build:
    """The candidate's library, from the cache or newly made. A failed build is not cached.

    `asked` are CUDA architectures; without any, gate/architectures.py chooses.
    """
    recipe = _prepare(candidate, asked)
    if isinstance(recipe, Build):
        return recipe
    done = _cached(recipe)
    if done is not None:
        return done
    with _locked(recipe.key):
        return _cached(recipe) or _make(recipe, server, limit_s)


def cached_build(candidate: Candidate, asked: Sequence[str] = ()) -> Build | None:
    """The finished build of exactly these sources, or why there is none to make; None where it is to be made."""
    recipe = _prepare(candidate, asked)
    return recipe if isinstance(recipe, Build) else _cached(recipe)


def _prepare(candidate: Candidate, asked: Sequence[str]) -> _Recipe | Build:
    """A recipe; or the build itself, where nothing is compiled or nothing can be."""
    if not candidate.compiled:
        if fault := syntax_fault(candidate):
            return _failed(candidate, fault)
        return Build(candidate.name, Status.OK, key=build_key(candidate), cached=True, config=candidate.config)
    if candidate.language != "cuda":
        return _Recipe(candidate, (), build_key(candidate))
    if find_tool("nvcc") is None:
        return _failed(candidate, f"no CUDA compiler (nvcc); {REMEDIES['nvcc']}", Status.ENVIRONMENT)
    wanted = wanted_architectures(asked)
    architectures = choose_architectures(candidate.architectures, wanted)
    if not architectures:
        declared = ", ".join(candidate.architectures)
        reason = f"{candidate.name} is written for {declared}, none of which runs where {wanted.by} asks"
        return _failed(candidate, reason, Status.UNSUPPORTED)
    return _Recipe(candidate, architectures, build_key(candidate, architectures))


def _cached(recipe: _Recipe) -> Build | None:
    started = time.perf_counter()
    found = _recorded(recipe.library.with_name(RECORD))
    if found is None or not recipe.library.is_file():
        return None
    return replace(found, cached=True, seconds=time.perf_counter() - started, library=str(recipe.library))


def _recorded(path: Path) -> Build | None:
    """The record of a finished build; None where there is none, or none that can be read: it is built anew."""
    try:
        return from_json(Build, path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, GateError):
        return None


def _make(recipe: _Recipe, server: WorkerServer, limit_s: float) -> Build:
    """Compiles in a folder of its own, and renames it into the cache as a whole."""
    final, root = recipe.library.parent, cache_root()
    with tempfile.TemporaryDirectory(dir=root, prefix=f"{recipe.key}.", ignore_cleanup_errors=True) as scratch:
        made = replace(
            _compile(recipe, scratch, server, limit_s),
            key=recipe.key,
            config=recipe.candidate.config,
            architectures=recipe.architectures,
        )
        if made.status is Status.OK:
            write_record(Path(scratch) / RECORD, made)
            shutil.rmtree(final, ignore_errors=True)  # half of a build that an older version left
            Path(scratch).rename(final)
    return made


def _compile(recipe: _Recipe, scratch: str, server: WorkerServer, limit_s: float) -> Build:
    ending = server.call({"kind": "compile", "requests": [to_json(_compilation(recipe, scratch))]}, limit_s)
    failed = replace(_failed(recipe.candidate, "?"), seconds=ending.seconds)
    if ending.status is Status.TIMED_OUT:
        return replace(failed, status=Status.TIMED_OUT, message=f"the build {ending.message}")
    if ending.status is not Status.OK:
        return replace(failed, message=f"the build {ending.message}: {ending.last_words}")
    try:
        compiled = from_json(Compiled, ending.replies[0], "the build's answer")
    except GateError as error:
        return replace(failed, message=str(error))
    if compiled.library is None:
        fault = machine_fault_in(compiled.log) or full_disk()
        status = Status.ENVIRONMENT if fault else failed.status
        return replace(failed, status=status, message=fault or compiled.message, log=compiled.log)
    return Build(
        recipe.candidate.name,
        Status.OK,
        seconds=ending.seconds,
        library=str(recipe.library),
        log=compiled.log,
        resources=_launched(recipe.candidate, compiled.resources),
    )


def _compilation(recipe: _Recipe, scratch: str) -> Compilation:
    candidate = recipe.candidate
    return Compilation(
        name=candidate.name,
        language="cuda" if candidate.language == "cuda" else "c++",
        sources=tuple(str(candidate.folder / source) for source in candidate.sources),
        include=(str(candidate.folder.parent), str(INCLUDE)),
        architectures=recipe.architectures,
        nvcc=find_tool("nvcc") if candidate.language == "cuda" else None,
        flags=(*(f"-D{name}={value}" for name, value in candidate.config.items()), *candidate.flags),
        link_flags=candidate.link_flags,
        directory=scratch,
    )


def _launched(candidate: Candidate, resources: Sequence[KernelResources]) -> tuple[KernelResources, ...]:
    """With what kernel.toml says of their launches; that goes before __launch_bounds__, which is but a bound."""
    return tuple(_launch(candidate, each) for each in resources)


def _launch(candidate: Candidate, seen: KernelResources) -> KernelResources:
    threads = size_of(candidate.threads, seen.kernel, candidate.config)
    shared = size_of(candidate.dynamic_shared_bytes, seen.kernel, candidate.config)
    return replace(
        seen,
        threads=seen.threads if threads is None else threads,
        dynamic_shared_bytes=seen.dynamic_shared_bytes if shared is None else shared,
        occupancy=None,
    )


def _failed(candidate: Candidate, message: str, status: Status = Status.BUILD_FAILED) -> Build:
    return Build(candidate.name, status, message)


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
