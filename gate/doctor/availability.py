"""Whether a candidate can run on this machine; if not, what is missing and how to install it. Loads no candidate."""

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
from gate.records import SCHEMA_VERSION, Record, SchemaVersion


@dataclass(frozen=True, slots=True)
class ListedCandidate(Record):
    """One candidate of the registry; `missing` says why it cannot run here, with the remedy."""

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
    """The candidates of the registry for one device; `unreadable` lists the errors of invalid descriptions."""

    device: str
    candidates: tuple[ListedCandidate, ...]
    unreadable: tuple[str, ...] = ()
    kind: Literal["candidates"] = "candidates"
    schema_version: SchemaVersion = SCHEMA_VERSION


def list_candidates(kernels: Path, device: str) -> CandidateList:
    """All candidates of a folder. Raises BadInputError if there are none."""
    entries = list(all_candidates(kernels))
    found = tuple(_listed(entry, device) for entry in entries if isinstance(entry, Candidate))
    return CandidateList(device, found, tuple(str(entry) for entry in entries if not isinstance(entry, Candidate)))


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
    """Why the candidate cannot run here on `device`, with remedies; None if it can."""
    checks = (_device, _compiler, _architecture, _triton, _libraries)
    missing = [found for check in checks if (found := check(candidate, device))]
    return "; ".join(missing) or None


def not_installed(candidate: Candidate) -> str | None:
    """The first missing compiler, or library that the candidate loads, with the remedy; None if all are installed."""
    return _compiler(candidate, "") or _triton(candidate, "") or _libraries(candidate, "")


def _device(candidate: Candidate, device: str) -> str | None:
    if device in candidate.devices and (device != "cuda" or gpu_names()):
        return None
    if candidate.devices != ("cuda",):
        return f"runs on {' or '.join(candidate.devices)}"
    builds = ", but it can be built" if candidate.language == "cuda" and find_tool("nvcc") else ""
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
    return None if chosen else f"none of its architectures runs on {', '.join(wanted.architectures)} ({wanted.by})"


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
    """Whether ldconfig lists it; on Debian, ldconfig is not on a user's PATH."""
    command = shutil.which("ldconfig", path=os.pathsep.join((os.environ.get("PATH", ""), "/sbin", "/usr/sbin")))
    if command is None:
        return False
    listed = run_program([command, "-p"]).stdout.decode(errors="replace")
    return any(line.split()[:1] == [name] for line in listed.splitlines())


def _in_a_wheel(name: str) -> bool:
    """Whether it lies in the `lib` folder of a pip package: NVIDIA's wheels install their libraries there."""
    return any((folder / name).is_file() for folder in _wheels())


def _wheels() -> Iterator[Path]:
    torch = importlib.util.find_spec("torch")
    if torch is not None and torch.origin is not None:
        packages = Path(torch.origin).parents[1]
        yield from (*packages.glob("*/lib"), *packages.glob("nvidia/*/lib"))


FINDERS: tuple[Callable[[str], bool], ...] = (_on_the_path, _in_a_wheel, _known_to_the_loader)
