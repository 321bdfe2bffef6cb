"""Whether a candidate can run on this machine, or what is missing and how to get it. Loads nothing of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gate.build.targets import choose_architectures, wanted_architectures
from gate.candidates.registry import Candidate, Support, all_candidates
from gate.machine.cuda_tools import REMEDIES, find_tool
from gate.machine.host import compiler_command
from gate.machine.nvml import gpu_names
from gate.machine.programs import run_program
from gate.records import SCHEMA_VERSION, Record


@dataclass(frozen=True, slots=True)
class ListedCandidate(Record):
    """One candidate of the registry; `missing` is why it cannot run here, and the remedy."""

    name: str
    summary: str
    language: str
    devices: tuple[str, ...]
    architectures: tuple[str, ...]
    supports: Support
    tunables: Mapping[str, tuple[int, ...]]
    missing: str | None


@dataclass(frozen=True, slots=True)
class CandidateList(Record):
    """The registry as one device sees it; `unreadable` says of each candidate that cannot be read why."""

    device: str
    candidates: tuple[ListedCandidate, ...]
    unreadable: tuple[str, ...] = ()
    kind: Literal["candidates"] = "candidates"
    schema_version: Literal[1] = SCHEMA_VERSION


def list_candidates(kernels: Path, device: str) -> CandidateList:
    """All candidates of a folder. Raises BadInputError where there is none."""
    seen = list(all_candidates(kernels))
    found = tuple(_listed(each, device) for each in seen if isinstance(each, Candidate))
    return CandidateList(device, found, tuple(str(each) for each in seen if not isinstance(each, Candidate)))


def _listed(candidate: Candidate, device: str) -> ListedCandidate:
    return ListedCandidate(
        candidate.name,
        candidate.summary,
        candidate.language,
        candidate.devices,
        candidate.architectures,
        candidate.supports,
        candidate.tunables,
        what_is_missing(candidate, device),
    )


def what_is_missing(candidate: Candidate, device: str) -> str | None:
    """All that keeps it from running here on `device`, and the remedies; None where nothing does."""
    looks = (_device, _compiler, _architecture, _triton, _libraries)
    missing = [found for look in looks if (found := look(candidate, device))]
    return "; ".join(missing) or None


def not_installed(candidate: Candidate) -> str | None:
    """What it is built with, or its code loads beside torch, and is not installed, with the remedy."""
    return _compiler(candidate, "") or _triton(candidate, "") or _libraries(candidate, "")


def _device(candidate: Candidate, device: str) -> str | None:
    if device in candidate.devices and (device != "cuda" or gpu_names()):
        return None
    if candidate.devices != ("cuda",):
        return f"runs on {' or '.join(candidate.devices)}"
    builds = ", but it builds" if candidate.language == "cuda" and find_tool("nvcc") else ""
    return f"no GPU{builds}"


def _compiler(candidate: Candidate, _: str) -> str | None:
    if candidate.language == "cuda" and find_tool("nvcc") is None:
        return f"no nvcc: {REMEDIES['nvcc']}"
    if candidate.compiled and shutil.which(compiler_command().split()[0]) is None:
        return "no C++ compiler: apt-get install g++, or set CXX"
    return None


def _architecture(candidate: Candidate, _: str) -> str | None:
    if not candidate.architectures:
        return None
    wanted = wanted_architectures()
    chosen = choose_architectures(candidate.architectures, wanted)
    return None if chosen else f"none of its architectures runs where {wanted.by} asks"


def _triton(candidate: Candidate, _: str) -> str | None:
    absent = candidate.language == "triton" and importlib.util.find_spec("triton") is None
    return "no Triton: pip install triton" if absent else None


def _libraries(candidate: Candidate, _: str) -> str | None:
    absent = [name for name in candidate.requires if not any(find(name) for find in FINDERS)]
    return f"no {absent[0]}: {candidate.remedy}" if absent else None


def _on_the_path(name: str) -> bool:
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return any((Path(folder) / name).is_file() for folder in folders if folder)


def _known_to_the_loader(name: str) -> bool:
    """Listed by ldconfig, which is in no user's PATH on Debian."""
    command = shutil.which("ldconfig", path=os.pathsep.join((os.environ.get("PATH", ""), "/sbin", "/usr/sbin")))
    if command is None:
        return False
    listed = run_program([command, "-p"]).stdout.decode(errors="replace")
    return any(line.split()[:1] == [name] for line in listed.splitlines())


def _in_a_wheel(name: str) -> bool:
    """In the `lib` of a package beside torch, where the wheels of NVIDIA's libraries are."""
    return any((folder / name).is_file() for folder in _wheels())


def _wheels() -> Iterator[Path]:
    torch = importlib.util.find_spec("torch")
    if torch is not None and torch.origin is not None:
        packages = Path(torch.origin).parents[1]
        yield from (*packages.glob("*/lib"), *packages.glob("nvidia/*/lib"))


FINDERS: tuple[Callable[[str], bool], ...] = (_on_the_path, _in_a_wheel, _known_to_the_loader)
