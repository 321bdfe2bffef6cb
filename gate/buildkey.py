"""The key of a build: a hash of everything that could change what is built."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from gate import compiling, nvcc
from gate.errors import UnfitEnvironmentError
from gate.machine import compiler_command, processor_flags, said_by
from gate.registry import Candidate
from gate.tunables import to_text

INCLUDE = Path(__file__).with_name("include")
"""Where attention.h is, for candidates of other repositories."""
HEADERS = ("*.h", "*.hpp", "*.cuh")
INCLUDED = re.compile(rb"""^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]""", re.MULTILINE)


def build_key(candidate: Candidate, architectures: Sequence[str] = ()) -> str:
    """Of the candidate's files and all that they include, its configuration, its compilers, and for what."""
    digest = hashlib.sha256()
    for path, name in sorted(_named(candidate), key=lambda pair: pair[1]):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    digest.update(f"{to_text(candidate.config)}\0{' '.join(architectures)}\0".encode())
    if candidate.compiled:  # -march=native means another thing on another processor
        for module in (compiling, nvcc):  # the flags that are our own
            digest.update(Path(str(module.__file__)).read_bytes())
        digest.update(f"{compiler()}\0{compiler_version()}\0{version('torch')}\0{processor_flags()}".encode())
    if candidate.language == "cuda":
        digest.update(nvcc.nvcc_version().encode())
    return f"{candidate.name}-{digest.hexdigest()[:24]}"


def compiler() -> str:
    """The C++ compiler's command. Raises UnfitEnvironmentError where there is none."""
    chosen = compiler_command()
    if shutil.which(chosen.split()[0]) is None:
        raise UnfitEnvironmentError(f"no C++ compiler ({chosen}); install one (apt-get install g++) or set CXX")
    return chosen


def compiler_version() -> str:
    """The first line of what the compiler says of itself."""
    return said_by(*compiler().split(), "--version") or "unknown"


def _named(candidate: Candidate) -> Iterator[tuple[Path, str]]:
    """What the compilers may read, named by where it lies to the candidate: where that lies does not matter."""
    for path in _read_by(candidate):
        shipped = path.is_relative_to(INCLUDE)
        yield path, f"shipped/{path.name}" if shipped else os.path.relpath(path, candidate.folder)


def _read_by(candidate: Candidate) -> list[Path]:
    """All in the candidate's folder, the headers beside it, the shipped one, and what any of these includes."""
    inside = [path for path in candidate.folder.rglob("*") if "__pycache__" not in path.parts and path.is_file()]
    folders = (candidate.folder.parent, INCLUDE)
    headers = [path for folder in folders for ending in HEADERS for path in folder.glob(ending)]
    found = dict.fromkeys((*inside, *headers))
    waiting = list(found) if candidate.compiled else []
    while waiting:
        path = waiting.pop()
        new = [each for each in _included_by(path, folders) if each not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return list(found)


def _included_by(path: Path, folders: Sequence[Path]) -> Iterator[Path]:
    """Where the compiler would find them; its own headers, which are none of these, come with its version."""
    for name in INCLUDED.findall(path.read_bytes()):
        places = (place / name.decode(errors="replace") for place in (path.parent, *folders))
        if found := next((place for place in places if place.is_file()), None):
            yield Path(os.path.normpath(found))
