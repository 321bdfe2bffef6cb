"""Compiles sources to a shared library, in a sandboxed process.

It calls the compilers itself. torch's cpp_extension names an object by the last part of its source's path only, does
not list system headers as dependencies, and links torch into kernels that do not use it. ccache returns a stale
object after a new header appears earlier on the include path, and any candidate's process may write to its cache.

All commands run in the candidate's folder: relative paths in flags start there.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from gate.build import gcc, nvcc, torch_library
from gate.build.dependencies import dependencies, files_of_rules, files_of_trace, folders_searched
from gate.build.elf import exported_functions
from gate.build.ptxas import read_directives, read_ptxas
from gate.machine.programs import run_program
from gate.sandbox.protocol import CompileAnswer, CompileRequest

EXPORTS = ("attention", "attention_workspace_bytes")
COMPLAINT = re.compile(r"\berror\b[^:]{0,12}: |\bfatal\b +: |undefined reference|No such file")
COMPILERS: Mapping[str, ModuleType] = {"c++": gcc, "cuda": nvcc}
NO_RULES = "the compiler wrote no depfile; remove options like -MF and -E from `flags`"


@dataclass(frozen=True, slots=True)
class _Done:
    """A finished command, and its output."""

    command: Sequence[str]
    failed: bool
    printed: str

    @property
    def log(self) -> str:
        return f"$ {' '.join(self.command)}\n{self.printed}"


def compile_library(asked: CompileRequest) -> CompileAnswer:
    """Compiles and links, then checks that the library exports the functions of kernels/attention.h.

    The library is not loaded: its constructors would run in this process.
    """
    with tempfile.TemporaryDirectory(dir=asked.directory) as scratch:
        compiled = _compile(asked, Path(scratch))
    if compiled.library is None:
        return replace(compiled, message=compiled.message or _first_error(compiled.log))
    fault = _missing_export(Path(compiled.library))
    return replace(compiled, library=None, message=fault) if fault else compiled


def _compile(asked: CompileRequest, scratch: Path) -> CompileAnswer:
    """Compiles the sources in parallel, then links the library."""
    objects = [scratch / str(number) / "object.o" for number in range(len(asked.sources))]
    for target in objects:
        target.parent.mkdir()
    pairs = zip(asked.sources, objects, strict=True)
    commands = [COMPILERS[asked.language].compile_command(asked, *pair) for pair in pairs]
    with ThreadPoolExecutor(nvcc.processes()) as pool:
        done = list(pool.map(lambda command: _run(command, asked.folder), commands))
    log = "\n".join(command.log for command in done)
    if any(command.failed for command in done):
        return CompileAnswer(None, log=log)
    if not all(target.with_suffix(".d").is_file() for target in objects):
        return CompileAnswer(None, NO_RULES, log)
    return _link(asked, objects, log)


def _link(asked: CompileRequest, objects: Sequence[Path], log: str) -> CompileAnswer:
    """Links the objects to a library, and collects the dependencies."""
    scratch, library = objects[0].parents[1], str(Path(asked.directory) / f"lib{asked.name}.so")
    read = [
        name
        for rules in scratch.glob("*/*.d")
        for name in files_of_rules(rules.read_text(encoding="utf-8", errors="replace"))
    ]
    linked = _run(_link_command(asked, objects, library, read), asked.folder)
    opened = files_of_trace(linked.printed, Path(asked.folder))
    log = f"{log}\n{_without(linked, opened).log}"
    if linked.failed:
        return CompileAnswer(None, log=log)
    directives = read_directives(
        path.read_text(encoding="utf-8", errors="replace") for path in scratch.rglob("*.ptx")
    )
    found = dependencies(asked, read, opened.values(), _searched(asked, scratch))
    return CompileAnswer(library, "", log, read_ptxas(log, directives), found)


def _link_command(asked: CompileRequest, objects: Sequence[Path], library: str, read: Sequence[str]) -> list[str]:
    """Links torch's libraries if its headers were read; then undefined symbols are allowed: Python defines some."""
    torch = torch_library.is_included(read)
    command: list[str] = COMPILERS[asked.language].link_command(asked, [str(path) for path in objects], library)
    return [*command, *(torch_library.link_flags() if torch else COMPILERS[asked.language].COMPLETE)]


def _without(linked: _Done, opened: Mapping[str, str]) -> _Done:
    """The linker's output without the lines of its trace."""
    lines = [line for line in linked.printed.splitlines() if line not in opened]
    return replace(linked, printed="\n".join(lines))


def _searched(asked: CompileRequest, scratch: Path) -> list[str]:
    """The folders that the compiler searches for headers."""
    empty = scratch / ("empty.cu" if asked.language == "cuda" else "empty.cpp")
    empty.touch()
    return list(folders_searched(_run(COMPILERS[asked.language].search_command(asked, empty), asked.folder).printed))


def _run(command: Sequence[str], folder: str) -> _Done:
    done = run_program(command, cwd=folder, stderr=subprocess.STDOUT)
    return _Done(command, done.returncode != 0, done.stdout.decode(errors="replace"))


def _first_error(output: str) -> str:
    """The first error of the compiler or linker, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if COMPLAINT.search(line)), lines[-1])


def _missing_export(library: Path) -> str | None:
    """The fault of the library, or None."""
    try:
        there = exported_functions(library.read_bytes())
    except ValueError as error:
        return f"the library cannot be read: {error}"
    missing = [name for name in EXPORTS if name not in there]
    return f"the library exports no function {missing[0]}()" if missing else None
