"""Command lines that compile and link CUDA sources with nvcc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gate.build.gcc import host_compiler, is_gnu
from gate.build.targets import code_flags
from gate.machine.cuda_tools import find_tool
from gate.machine.programs import run_program
from gate.sandbox.protocol import CompileRequest

DEFAULTS = {
    "-O3": ("-O", "--optimize"),
    "-std=c++17": ("-std", "--std"),
    "-lineinfo": ("-lineinfo", "--generate-line-info", "-G", "--device-debug"),
}
"""Default flags; a candidate's flag with one of these prefixes replaces the default: nvcc refuses duplicates."""
ALWAYS = ("-Xcompiler=-fPIC", "-Xptxas=-v")
LINK = ("-shared", "-Xlinker=--trace")
COMPLETE = ("-Xlinker=-z,defs",)


def nvcc_version() -> str:
    """The output of `nvcc --version`; empty if nvcc is not installed."""
    nvcc = find_tool("nvcc")
    return run_program([nvcc, "--version"]).stdout.decode(errors="replace") if nvcc else ""


def processes() -> int:
    """The number of parallel compilers: MAX_JOBS, as for torch's extensions, or one per processor."""
    chosen = os.environ.get("MAX_JOBS", "")
    return max(1, int(chosen) if chosen.isdecimal() else len(os.sched_getaffinity(0)))


def compile_command(asked: CompileRequest, source: str, target: Path) -> list[str]:
    """Compiles one source to an object, and writes its depfiles and PTX into its folder."""
    codes = [flag for architecture in asked.architectures for flag in code_flags(architecture)]
    threads = f"--threads={min(len(asked.architectures), processes())}"
    rules, assembled = target.with_suffix(".d"), target.with_suffix(".assembled.d")
    listed = ["-MD", "-MF", str(rules), *([rf"-Xcompiler=-Wa\,--MD\,{assembled}"] if is_gnu(_host()) else [])]
    return [
        *_nvcc(asked), "-c", source, "-o", str(target), *ALWAYS, *codes, threads, *_given(asked),
        "--keep", f"--keep-dir={target.parent}", *listed,
    ]  # fmt: skip


def search_command(asked: CompileRequest, source: Path) -> list[str]:
    """Preprocesses an empty source: with -v, the host compiler prints the folders that it searches."""
    return [*_nvcc(asked), "-Xcompiler=-v", *_given(asked), "-x", "cu", "-E", str(source), "-o", f"{source}.ii"]


def link_command(asked: CompileRequest, objects: Sequence[str], library: str) -> list[str]:
    """Links objects to a library."""
    return [*_nvcc(asked), *LINK, *objects, "-o", library, *asked.link_flags]


def _nvcc(asked: CompileRequest) -> list[str]:
    """nvcc, with the host compiler of CXX if that is set."""
    return [asked.nvcc or "nvcc", *([f"-ccbin={host_compiler()[0]}"] if os.environ.get("CXX") else [])]


def _host() -> list[str]:
    return host_compiler()[:1]


def _given(asked: CompileRequest) -> list[str]:
    wanted = [flag for flag, others in DEFAULTS.items() if not any(given.startswith(others) for given in asked.flags)]
    return [
        *wanted, *(f"-I{folder}" for folder in asked.include),
        *(f"-isystem={folder}" for folder in asked.system_include), *asked.flags,
    ]  # fmt: skip
