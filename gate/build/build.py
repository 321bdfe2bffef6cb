"""Builds a candidate, with a cache keyed by everything that could change the library. Parallel builds are safe.

A request (gate/build/cache_key.py) has one build for every state of the files outside the candidate's folder that its
compilers read. A build is a folder named by its key; it contains the library, its record, and its dependencies.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from gate.build import torch_library
from gate.build.cache_key import INCLUDE, build_key, refuse_special, request_key
from gate.build.dependencies import named_in_flags
from gate.build.file_digests import NotReadableError, digest_input, digest_names
from gate.build.targets import choose_architectures, wanted_architectures
from gate.candidates.launch_sizes import size_of
from gate.candidates.registry import Candidate, syntax_fault
from gate.errors import GateError, UnfitEnvironmentError, machine_fault_in
from gate.machine.cuda_tools import REMEDIES, find_tool
from gate.machine.preflight import cache_root, full_disk
from gate.records import Build, KernelResources, Record, Status
from gate.records.codec import from_json
from gate.sandbox.calls import CallFailure, call
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import COMPILE, CompileAnswer, CompileRequest, Dependencies
from gate.storage import write_record

R = TypeVar("R", bound=Record)
RECORD, READ = "build.json", "dependencies.json"


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A build to make, or to find in the cache."""

    candidate: Candidate
    architectures: tuple[str, ...]
    request: str

    def library(self, key: str) -> Path:
        """The path of the library of the build with this key."""
        return cache_root() / key / f"lib{self.candidate.name}.so"


def build(candidate: Candidate, server: WorkerServer, limit_s: float, asked: Sequence[str] = ()) -> Build:
    """The candidate's build, from the cache or newly compiled. A failed build is not cached.

    `asked` are CUDA architectures; without any, gate/candidates/architectures.py chooses.
    """
    recipe = _prepare(candidate, asked)
    if isinstance(recipe, Build):
        return recipe
    done = _cached(recipe)
    if done is not None:
        return done
    with _locked(recipe.request):
        return _cached(recipe) or _make(recipe, server, limit_s)


def cached_build(candidate: Candidate, asked: Sequence[str] = ()) -> Build | None:
    """The finished build of exactly these sources, or a failed one; None if it must be compiled first."""
    recipe = _prepare(candidate, asked)
    return recipe if isinstance(recipe, Build) else _cached(recipe)


def _prepare(candidate: Candidate, asked: Sequence[str]) -> _Recipe | Build:
    """A recipe; or the build itself, if there is nothing to compile or the candidate cannot be compiled."""
    try:
        return _request(candidate, asked)
    except NotReadableError as error:
        return _failed(candidate, f"{error}; a candidate may contain regular files only: remove it")


def _request(candidate: Candidate, asked: Sequence[str]) -> _Recipe | Build:
    if not candidate.compiled:
        key = request_key(candidate)
        if fault := syntax_fault(candidate):
            return _failed(candidate, fault)
        return Build(candidate.name, Status.OK, key=key, cached=True, config=candidate.config)
    for name in named_in_flags((*candidate.flags, *candidate.link_flags), candidate.folder):
        refuse_special(candidate.folder / name)
    if candidate.language != "cuda":
        return _Recipe(candidate, (), request_key(candidate))
    if find_tool("nvcc") is None:
        return _failed(candidate, f"no CUDA compiler (nvcc) is installed; {REMEDIES['nvcc']}", Status.ENVIRONMENT)
    wanted = wanted_architectures(asked)
    architectures = choose_architectures(candidate.architectures, wanted)
    if not architectures:
        declared = ", ".join(candidate.architectures)
        reason = f"{candidate.name} is written for {declared}, none of which runs where {wanted.by} asks"
        return _failed(candidate, reason, Status.UNSUPPORTED)
    return _Recipe(candidate, architectures, request_key(candidate, architectures))


def _cached(recipe: _Recipe) -> Build | None:
    """A finished build of this request whose dependencies are unchanged."""
    started = time.perf_counter()
    key = functools.partial(build_key, content=functools.cache(digest_input), names=functools.cache(digest_names))
    for folder in cache_root().glob(f"{recipe.request}-*"):
        read = _recorded(Dependencies, folder / READ)
        found = _recorded(Build, folder / RECORD)
        library = recipe.library(folder.name)
        if read and found and library.is_file() and key(recipe.request, read, recipe.candidate.folder) == folder.name:
            return replace(found, cached=True, seconds=time.perf_counter() - started, library=str(library))
    return None


def _recorded(kind: type[R], path: Path) -> R | None:
    """A record of a finished build; None if it is missing or unreadable, and then the candidate is built again."""
    try:
        return from_json(kind, path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, GateError):
        return None


def _make(recipe: _Recipe, server: WorkerServer, limit_s: float) -> Build:
    """Compiles in a new folder, and renames that folder into the cache in one step."""
    root, started_ns = cache_root(), time.time_ns()
    with tempfile.TemporaryDirectory(dir=root, prefix=f"{recipe.request}.", ignore_cleanup_errors=True) as scratch:
        made, read = _compile(recipe, scratch, server, limit_s)
        if made.status is not Status.OK:
            return made
        key = _key(recipe, read, started_ns)
        made = replace(made, key=key, library=str(recipe.library(key)))
        write_record(Path(scratch) / RECORD, made)
        write_record(Path(scratch) / READ, read)
        final = root / key
        shutil.rmtree(final, ignore_errors=True)  # an incomplete build of an older version
        Path(scratch).rename(final)
    return made


def _key(recipe: _Recipe, read: Dependencies, started_ns: int) -> str:
    """The build's key; unique if a file changed during the build, since either of its states may be compiled in."""
    folder = recipe.candidate.folder
    key = build_key(recipe.request, read, folder)
    changed = any(_changed_ns(folder / name) >= started_ns for name in read.files)
    return f"{key}-{started_ns}" if changed else key


def _changed_ns(path: Path) -> int:
    """The time when the file's content or name changed; 0 if the file is gone."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def _compile(recipe: _Recipe, scratch: str, server: WorkerServer, limit_s: float) -> tuple[Build, Dependencies]:
    """The build, whose key is that of the request yet, and what was read for it."""
    answers = call(server, COMPILE, [_compilation(recipe, scratch)], limit_s)
    answer = answers if isinstance(answers, CallFailure) else answers[0]
    failed = replace(
        _failed(recipe.candidate, "?"),
        key=recipe.request,
        seconds=answer.seconds,
        config=recipe.candidate.config,
        architectures=recipe.architectures,
    )
    if isinstance(answer, CallFailure):
        status = answer.status if answer.status in (Status.TIMED_OUT, Status.ENVIRONMENT) else failed.status
        return replace(failed, status=status, message=answer.message), Dependencies()
    try:
        for name in answer.dependencies.files:
            refuse_special(recipe.candidate.folder / name)
    except NotReadableError as error:
        return replace(failed, message=str(error)), Dependencies()
    return _compiled(failed, answer, recipe.candidate), answer.dependencies


def _compiled(failed: Build, compiled: CompileAnswer, candidate: Candidate) -> Build:
    if compiled.library is None:
        fault = machine_fault_in(compiled.log) or full_disk()
        status = Status.ENVIRONMENT if fault else failed.status
        return replace(failed, status=status, message=fault or compiled.message, log=compiled.log)
    resources = _launched(candidate, compiled.resources)
    return replace(failed, status=Status.OK, message="", log=compiled.log, resources=resources)


def _compilation(recipe: _Recipe, scratch: str) -> CompileRequest:
    candidate = recipe.candidate
    return CompileRequest(
        name=candidate.name,
        language="cuda" if candidate.language == "cuda" else "c++",
        folder=str(candidate.folder),
        sources=candidate.sources,
        include=("..", str(INCLUDE), *candidate.include_dirs),
        system_include=tuple(torch_library.include_folders()),
        architectures=recipe.architectures,
        nvcc=find_tool("nvcc") if candidate.language == "cuda" else None,
        flags=(*_definitions(candidate), *candidate.flags),
        link_flags=candidate.link_flags,
        directory=scratch,
    )


def _definitions(candidate: Candidate) -> list[str]:
    tunables = [f"-D{name}={value}" for name, value in candidate.config.items()]
    return [*tunables, *torch_library.definitions(candidate.name)]


def _launched(candidate: Candidate, resources: Sequence[KernelResources]) -> tuple[KernelResources, ...]:
    """Adds the launch sizes in kernel.toml; they replace __launch_bounds__, which is only an upper bound."""
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
    from filelock import FileLock

    lock = FileLock(cache_root() / "locks" / key)
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        reason = f"cannot lock the build cache at {lock.lock_file}: {getattr(error, 'strerror', None) or error}"
        raise UnfitEnvironmentError(f"{reason}; set KERNEL_GATE_CACHE to a folder that can be written") from error
    try:
        yield
    finally:
        lock.release()
