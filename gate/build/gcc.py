"""The commands that make a library of C++: GCC's, which Clang takes too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gate.machine.host import compiler_command
from gate.machine.programs import run_program
from gate.sandbox.protocol import CompileRequest

DEFAULTS = ("-O3", "-std=c++20")
"""Torch's own standard. Of two such flags the last counts, and the candidate's come later."""
LINK = ("-shared", "-Wl,--trace")
COMPLETE = ("-Wl,-z,defs",)
"""It asks of the linker what only loading would show otherwise: that nothing is missing."""


def compile_command(asked: CompileRequest, source: str, target: Path) -> list[str]:
    """One source to an object, with the depfiles of compiler and assembler beside it."""
    rules, assembled = target.with_suffix(".d"), target.with_suffix(".assembled.d")
    listed = ["-MD", "-MF", str(rules), *([f"-Wa,--MD,{assembled}"] if is_gnu(host_compiler()) else [])]
    return [*host_compiler(), *DEFAULTS, "-fPIC", *_given(asked), "-c", source, "-o", str(target), *listed]


def search_command(asked: CompileRequest, source: Path) -> list[str]:
    """An empty source, preprocessed only to hear which folders are searched."""
    return [*host_compiler(), *DEFAULTS, "-v", *_given(asked), "-E", str(source), "-o", f"{source}.i"]


def link_command(asked: CompileRequest, objects: Sequence[str], library: str) -> list[str]:
    """Objects to a library."""
    return [*host_compiler(), *LINK, *objects, "-o", library, *asked.link_flags]


def host_compiler() -> list[str]:
    """The C++ compiler with its flags, without ccache before it."""
    return [word for word in compiler_command().split() if Path(word).name != "ccache"] or ["c++"]


def is_gnu(compiler: Sequence[str]) -> bool:
    """Whether it hands its assembler what -Wa says: Clang has one built in, which lists nothing."""
    return b"Free Software Foundation" in run_program([*compiler, "--version"]).stdout


def _given(asked: CompileRequest) -> list[str]:
    return [
        *(f"-I{folder}" for folder in asked.include),
        *(f"-isystem{folder}" for folder in asked.system_include),
        *asked.flags,
    ]
