"""The keys of a build: what is asked for, and what the compilers read to make it.

Two steps, as ccache's direct mode takes them: a request (the candidate's files, flags, compilers) leads to the builds
that were made for it, each with the names of all that its compilers read and of the folders that they searched
(gate/build/dependencies.py); that one is taken whose names stand for the same content today. System headers count by
content, as all others: 5,400 files of <torch/extension.h> take 0.3 s, those of a kernel in plain C++ 0.02 s.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from gate.build import compile as build_compile
from gate.build import dependencies, gcc, nvcc, torch_library
from gate.build.file_digests import contents, digest_input, digest_names, require_plain
from gate.candidates.registry import Candidate
from gate.candidates.tunables import to_text
from gate.errors import UnfitEnvironmentError
from gate.machine.host import first_output_line, processor_flags
from gate.sandbox.protocol import Dependencies

INCLUDE = Path(__file__).parents[1] / "include"
"""Where attention.h is, for candidates of other repositories."""
FAR = re.compile(rb"""(?:\#\s*(?:include|include_next|embed)\s*["<]|\.incbin\s*\\?")((?:/|\.\./)[^">\n\\]+)""")
"""What a source names outside its folder."""


def files_sha256(folder: Path) -> str:
    """Of the names and contents of all files in a candidate's folder, wherever the folder lies.

    Raises NotReadableError.
    """
    digest = hashlib.sha256()
    for name, content in contents(folder):
        digest.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def request_key(candidate: Candidate, architectures: Sequence[str] = ()) -> str:
    """Of the files in the candidate's folder, its configuration, its compilers, and for what.

    Raises NotReadableError for a file that is not to be read: no plain one, or a huge one.
    """
    digest = hashlib.sha256(files_sha256(candidate.folder).encode())
    if candidate.compiled:
        for name, content in contents(candidate.folder):
            for far in FAR.findall(content):
                refuse_special((candidate.folder / name).parent / os.fsdecode(far))
    digest.update(f"{to_text(candidate.config)}\0{' '.join(architectures)}\0".encode())
    if candidate.compiled:  # -march=native means another thing on another processor
        for module in (build_compile, dependencies, gcc, nvcc, torch_library):  # what is our own
            digest.update(Path(str(module.__file__)).read_bytes())
        digest.update(f"{compiler()}\0{compiler_version()}\0{version('torch')}\0{processor_flags()}".encode())
    if candidate.language == "cuda":
        digest.update(nvcc.nvcc_version().encode())
    return f"{candidate.name}-{digest.hexdigest()[:24]}"


def refuse_special(path: Path) -> None:
    """Raises NotReadableError for a device, a pipe, a file without end: a compiler would not come to their end."""
    if str(path) != os.devnull and not path.is_dir():
        require_plain(path)


def build_key(
    request: str,
    found: Dependencies,
    folder: Path,
    content: Callable[[Path], str] = digest_input,
    names: Callable[[Path], str] = digest_names,
) -> str:
    """Of a request and of what its compilers read, as it is now: `content` of files and `names` in folders."""
    digest = hashlib.sha256()
    for paths, state in ((found.files, content), (found.folders, names)):
        for path in paths:
            digest.update(f"{path}\0{state(folder / path)}\0".encode(errors="surrogateescape"))
    return f"{request}-{digest.hexdigest()[:16]}"


def compiler() -> str:
    """The C++ compiler's command. Raises UnfitEnvironmentError where there is none."""
    chosen = gcc.host_compiler()
    if shutil.which(chosen[0]) is None:
        raise UnfitEnvironmentError(f"no C++ compiler ({chosen[0]}); install one (apt-get install g++) or set CXX")
    return " ".join(chosen)


def compiler_version() -> str:
    """The first line of what the compiler says of itself."""
    return first_output_line(*compiler().split(), "--version") or "unknown"
