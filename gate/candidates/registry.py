"""The registry: every candidate is a folder under the kernels directory with a `kernel.toml`."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gate.candidates.architectures import check_architectures
from gate.candidates.launch_sizes import Sizes, check_sizes
from gate.candidates.tunables import Config, check_tunables, choose_config, to_text
from gate.errors import BadInputError, CandidateNotFoundError
from gate.records import Dtype, Record, ResourceLimits, Workload
from gate.records.occupancy import MAX_THREADS
from gate.storage import MAX_TOML, read_given

Language = Literal["c++", "cuda", "python", "triton"]
COMPILED = ("c++", "cuda")
ARCHITECTURE_FLAGS = ("gencode", "arch", "code", "generate-code", "gpu-architecture", "gpu-code")
NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
"""A candidate's name; it is used in shells, paths, C macros and comment markers."""
CHOSEN = ("folder", "config")
"""Fields of a candidate that kernel.toml cannot set."""


@dataclass(frozen=True, slots=True)
class Support(Record):
    """The workloads that a candidate supports; an empty `head_dims` means any."""

    dtypes: tuple[Dtype, ...] = ("float16",)
    head_dims: tuple[int, ...] = ()
    causal: tuple[bool, ...] = (False,)

    def refusal(self, workload: Workload) -> str | None:
        """Why a workload is not supported; None if it is."""
        if workload.dtype not in self.dtypes:
            return f"dtype {workload.dtype} is not supported (only {', '.join(self.dtypes)})"
        if self.head_dims and workload.head_dim not in self.head_dims:
            return f"head_dim {workload.head_dim} is not supported (only {', '.join(map(str, self.head_dims))})"
        if workload.causal not in self.causal:
            return f"causal = {workload.causal} is not supported"
        return None


@dataclass(frozen=True, slots=True)
class Candidate(Record):
    """One `kernel.toml`. `sources` are relative to `folder`; they may include headers next to `attention.h`."""

    name: str
    summary: str
    language: Language
    sources: tuple[str, ...]
    folder: Path
    architectures: tuple[str, ...] = ()
    """Architectures that a CUDA candidate can be compiled for: 8.9, 9.0a."""
    include_dirs: tuple[str, ...] = ()
    """Include folders, relative to `folder` or absolute."""
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    devices: tuple[Literal["cpu", "cuda"], ...] = ("cuda",)
    supports: Support = field(default_factory=Support)
    tunables: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The allowed values of every tunable; the first is the default."""
    config: Mapping[str, int] = field(default_factory=dict)
    """The chosen value of every tunable (--config)."""
    threads: Sizes | None = None
    """Threads per block, if __launch_bounds__ does not state them."""
    dynamic_shared_bytes: Sizes | None = None
    resources: ResourceLimits = field(default_factory=ResourceLimits)
    """The resource limits that the candidate declares."""
    tensor_cores: bool = False
    """Whether the candidate claims to use tensor cores; counters without tensor activity give a warning."""
    requires: tuple[str, ...] = ()
    """File names of the shared libraries that the candidate loads at run time."""
    remedy: str = ""
    """How to install `requires`."""

    def __post_init__(self) -> None:
        if self.name != self.folder.name:
            raise ValueError(
                f"the name '{self.name}' differs from the folder's name '{self.folder.name}'; make them equal"
            )
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"the name '{self.name}' must consist of at most 64 letters, digits and _; rename the folder"
            )
        self._check_sources()
        self._check_include_dirs()
        self._check_architectures()
        check_tunables(self.tunables)
        self._check_launches(self.config or choose_config(self.tunables, None))
        if any("/" in module for module in self.requires) or (self.requires and not self.remedy):
            raise ValueError(
                "requires must list library file names without folders, and remedy must say how to install them"
            )

    def _check_sources(self) -> None:
        for source in self.sources:
            inside = (self.folder / source).resolve().is_relative_to(self.folder.resolve())
            if not inside or not (self.folder / source).is_file():
                raise ValueError(f"source '{source}' does not exist in {self.folder}")
        if not self.sources:
            raise ValueError("sources is empty; name at least one source file")

    def _check_include_dirs(self) -> None:
        for name in self.include_dirs:
            if not (self.folder / name).is_dir():
                raise ValueError(f"include_dirs: '{name}' is not a folder (relative to {self.folder})")

    def _check_architectures(self) -> None:
        check_architectures(self.architectures)
        if (self.language == "cuda") != bool(self.architectures):
            raise ValueError("a CUDA candidate must declare at least one architecture, and other candidates none")
        fixed = [flag for flag in self.flags if flag.lstrip("-").startswith(ARCHITECTURE_FLAGS)]
        if fixed and self.language == "cuda":
            raise ValueError(f"flag {fixed[0]} sets an architecture; list it in `architectures` instead")

    def _check_launches(self, config: Config) -> None:
        check_sizes("threads", self.threads, config, 1, MAX_THREADS)
        check_sizes("dynamic_shared_bytes", self.dynamic_shared_bytes, config)

    @property
    def compiled(self) -> bool:
        """Whether the candidate is compiled to a library; other candidates are imported."""
        return self.language in COMPILED

    @property
    def entry(self) -> str:
        """The import path of a candidate that is not compiled: SOURCE#CONFIG."""
        return f"{self.folder / self.sources[0]}#{to_text(self.config)}"


def syntax_fault(candidate: Candidate) -> str:
    """The first Python syntax error, as file:line: reason; empty if there is none."""
    for source in candidate.sources:
        path = candidate.folder / source
        if path.suffix == ".py" and (fault := _syntax_fault(path)):
            return fault
    return ""


def _syntax_fault(path: Path) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)  # does not run the code
    except SyntaxError as error:
        return f"{path}:{error.lineno or 1}: {type(error).__name__}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte, or too deep nesting
        return f"{path}:1: {error or type(error).__name__}"
    return ""


def find_candidate(name: str, kernels: Path, config: str | None = None) -> Candidate:
    """The candidate of that name, with its tunables at `config` (BLOCK_M=64,BLOCK_N=64) or their defaults.

    Raises CandidateNotFoundError, or BadInputError for a broken `kernel.toml` or a value that is not allowed.
    """
    known = candidate_names(kernels)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise CandidateNotFoundError(
            f"no candidate '{name}' in {kernels} (available: {listed}); choose one with --impl"
        )
    return _read(kernels / name, config)


def candidate_names(kernels: Path) -> list[str]:
    """All folders with a `kernel.toml`, sorted. Raises BadInputError if `kernels` is not a directory."""
    if not kernels.is_dir():
        raise BadInputError(f"the kernels directory {kernels} does not exist; choose one with --kernels")
    return sorted(path.parent.name for path in kernels.glob("*/kernel.toml"))


def all_candidates(kernels: Path) -> Iterator[Candidate | BadInputError]:
    """All candidates; an unreadable candidate is returned as its error."""
    for name in candidate_names(kernels):
        try:
            yield _read(kernels / name)
        except BadInputError as error:
            yield error


def _read(folder: Path, config: str | None = None) -> Candidate:
    from pydantic import TypeAdapter, ValidationError

    path = folder / "kernel.toml"
    try:
        table = tomllib.loads(read_given(path, "a kernel.toml", limit=MAX_TOML).decode())
        known = [name for name in Candidate.__dataclass_fields__ if name not in CHOSEN]
        if extra := [name for name in table if name not in known]:
            fields = ", ".join(known)
            raise BadInputError(f"{path}: {extra[0]}: unknown field; kernel.toml has {fields}; fix that file")
        read = TypeAdapter(Candidate).validate_python({**table, "folder": folder.resolve()})
        return replace(read, config=choose_config(read.tunables, config))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"cannot read {path}: {error}; fix that file") from error
    except ValidationError as error:
        first = error.errors()[0]
        field_name = "".join(f"{part}: " for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{path}: {field_name}{reason}; fix that file") from error
    except ValueError as error:  # valid by itself, but not with this configuration
        raise BadInputError(f"{path}: {error}; fix that file, or choose another --config") from error
