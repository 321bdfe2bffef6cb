"""The candidates: one folder each under a kernels directory, described by its `kernel.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gate.errors import BadInputError, CandidateNotFoundError
from gate.records import Dtype, Record, Workload

Language = Literal["c++", "cuda", "python", "triton"]
COMPILED = ("c++", "cuda")


@dataclass(frozen=True, slots=True)
class Support(Record):
    """What a candidate says it can compute; an empty `head_dims` means any."""

    dtypes: tuple[Dtype, ...] = ("float16",)
    head_dims: tuple[int, ...] = ()
    causal: tuple[bool, ...] = (False,)

    def refusal(self, workload: Workload) -> str | None:
        """Why a workload is not supported, or None where it is."""
        if workload.dtype not in self.dtypes:
            return f"dtype {workload.dtype} is not supported (only {', '.join(self.dtypes)})"
        if self.head_dims and workload.head_dim not in self.head_dims:
            return f"head_dim {workload.head_dim} is not supported (only {', '.join(map(str, self.head_dims))})"
        if workload.causal not in self.causal:
            return f"causal = {workload.causal} is not supported"
        return None


@dataclass(frozen=True, slots=True)
class Candidate(Record):
    """One `kernel.toml`. `sources` lie in `folder`; compiled ones may include what lies beside `attention.h`."""

    name: str
    summary: str
    language: Language
    sources: tuple[str, ...]
    folder: Path
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    devices: tuple[Literal["cpu", "cuda"], ...] = ("cuda",)
    supports: Support = field(default_factory=Support)

    def __post_init__(self) -> None:
        if self.name != self.folder.name:
            raise ValueError(f"the name '{self.name}' is not that of its folder, '{self.folder.name}'")
        for source in self.sources:
            inside = (self.folder / source).resolve().is_relative_to(self.folder.resolve())
            if not inside or not (self.folder / source).is_file():
                raise ValueError(f"source '{source}' is not a file in {self.folder}")
        if not self.sources:
            raise ValueError("a candidate has at least one source")

    @property
    def compiled(self) -> bool:
        """Whether it is built into a library; the others are imported."""
        return self.language in COMPILED


def find(name: str, kernels: Path) -> Candidate:
    """The candidate of that name. Raises CandidateNotFoundError, or BadInputError for a broken `kernel.toml`."""
    known = names(kernels)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise CandidateNotFoundError(f"no candidate '{name}' in {kernels} (there: {listed}); choose one with --impl")
    return _read(kernels / name)


def names(kernels: Path) -> list[str]:
    """Every folder with a `kernel.toml`, sorted. Raises BadInputError where there is no such directory."""
    if not kernels.is_dir():
        raise BadInputError(f"no kernels directory at {kernels}; name one with --kernels")
    return sorted(path.parent.name for path in kernels.glob("*/kernel.toml"))


def every(kernels: Path) -> Iterator[Candidate | BadInputError]:
    """All candidates; one that cannot be read is its error, so that it does not hide the others."""
    for name in names(kernels):
        try:
            yield _read(kernels / name)
        except BadInputError as error:
            yield error


def _read(folder: Path) -> Candidate:
    from pydantic import TypeAdapter, ValidationError

    path = folder / "kernel.toml"
    try:
        table = tomllib.loads(path.read_text())
        return TypeAdapter(Candidate).validate_python({**table, "folder": folder.resolve()})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInputError(f"cannot read {path}: {error}; mend that file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{path}: {where}{said}; mend that file") from error
