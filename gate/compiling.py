"""Sources to a shared library: C++ through torch's cpp_extension, CUDA by nvcc. Runs in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from gate.machine import compiler_command
from gate.messages import Compilation, Compiled
from gate.nvcc import compile_cuda
from gate.profiling.elf import exported_functions

EXPORTS = ("attention", "attention_workspace_bytes")
OPTIMISED = "-O3"
COMPLAINT = re.compile(r"\berror\b[^:]{0,12}: |\bfatal\b +: |undefined reference|No such file")


def compile_library(asked: Compilation) -> Compiled:
    """Compiles and links, then reads in the file whether it exports what kernels/attention.h asks for.

    It is not loaded: its constructors would run in the process that answers for it.
    """
    compiled = COMPILERS[asked.language](asked)
    if compiled.library is None:
        return replace(compiled, message=_first_error(compiled.log))
    fault = _missing_export(Path(compiled.library))
    return replace(compiled, library=None, message=fault) if fault else compiled


def _compile_cpp(asked: Compilation) -> Compiled:
    from torch.utils import cpp_extension

    _choose_compiler()
    try:
        # `is_standalone` hands back a file instead of importing it; -shared makes that file a library.
        built = cpp_extension.load(
            asked.name,
            list(asked.sources),
            extra_cflags=[OPTIMISED, *asked.flags],  # of two, the last counts
            extra_ldflags=["-shared", "-Wl,-z,defs", *asked.link_flags],  # as in gate/nvcc.py
            extra_include_paths=list(asked.include),
            build_directory=asked.directory,
            is_python_module=False,
            is_standalone=True,
        )
    except (RuntimeError, subprocess.SubprocessError) as error:
        return Compiled(None, log=str(error))
    return Compiled(str(Path(built).rename(Path(asked.directory) / f"lib{asked.name}.so")))


COMPILERS: Mapping[str, Callable[[Compilation], Compiled]] = {"c++": _compile_cpp, "cuda": compile_cuda}


def _choose_compiler() -> None:
    cached = "ccache " if shutil.which("ccache") else ""
    os.environ["CXX"] = cached + compiler_command()


def _first_error(output: str) -> str:
    """The compiler's or linker's first complaint, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if COMPLAINT.search(line)), lines[-1])


def _missing_export(library: Path) -> str | None:
    """What is wrong with the library, or None."""
    try:
        there = exported_functions(library.read_bytes())
    except ValueError as error:
        return f"the library cannot be read: {error}"
    missing = [name for name in EXPORTS if name not in there]
    return f"the library exports no function {missing[0]}()" if missing else None
