"""Command lines that compile and link C++ with GCC; Clang accepts the same flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gate.machine.host import compiler_command
from gate.machine.programs import run_program
from gate.sandbox.protocol import CompileRequest

DEFAULTS = ("-O3", "-std=c++20")
"""The C++ standard is torch's. The last of several such flags counts, and the candidate's flags come later."""
LINK = ("-shared", "-Wl,--trace")
COMPLETE = ("-Wl,-z,defs",)
"""Undefined symbols become errors of the linker; otherwise only loading would find them."""


def compile_command(asked: CompileRequest, source: str, target: Path) -> list[str]:
    """Compiles one source to an object, and writes the depfiles of compiler and assembler into its folder."""
    rules, assembled = target.with_suffix(".d"), target.with_suffix(".assembled.d")
    listed = ["-MD", "-MF", str(rules), *([f"-Wa,--MD,{assembled}"] if is_gnu(host_compiler()) else [])]
    return [*host_compiler(), *DEFAULTS, "-fPIC", *_given(asked), "-c", source, "-o", str(target), *listed]


def search_command(asked: CompileRequest, source: Path) -> list[str]:
    """Preprocesses an empty source: with -v, the compiler prints the folders that it searches."""
    return [*host_compiler(), *DEFAULTS, "-v", *_given(asked), "-E", str(source), "-o", f"{source}.i"]


def link_command(asked: CompileRequest, objects: Sequence[str], library: str) -> list[str]:
    """Links objects to a library."""
    return [*host_compiler(), *LINK, *objects, "-o", library, *asked.link_flags]


def host_compiler() -> list[str]:
    """The C++ compiler with its flags, without ccache before it."""
    return [word for word in compiler_command().split() if Path(word).name != "ccache"] or ["c++"]


def is_gnu(compiler: Sequence[str]) -> bool:
    """Whether the compiler is GCC, which passes -Wa to its assembler; Clang's built-in one writes no depfile."""
    return b"Free Software Foundation" in run_program([*compiler, "--version"]).stdout


def _given(asked: CompileRequest) -> list[str]:
    return [
        *(f"-I{folder}" for folder in asked.include),
        *(f"-isystem{folder}" for folder in asked.system_include),
        *asked.flags,
    ]
