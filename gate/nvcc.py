"""CUDA sources to a shared library, by nvcc itself: they include no header of torch, and need none of its libraries.

ccache is left out: it passes over whatever is compiled with --keep, and the cache of builds stands before both.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gate.architectures import code_flags
from gate.cuda_tools import find_tool
from gate.messages import Compilation, Compiled
from gate.programs import run_program
from gate.ptxas import read_directives, read_report

DEFAULTS = {
    "-O3": ("-O", "--optimize"),
    "-std=c++17": ("-std", "--std"),
    "-lineinfo": ("-lineinfo", "--generate-line-info", "-G", "--device-debug"),
}
"""Flags, each unless the candidate has one that begins like these: nvcc takes none twice."""
ALWAYS = ("-Xcompiler=-fPIC", "-Xptxas=-v")
LINK = ("-shared", "-Xlinker=-z,defs")
"""The second asks of the linker what only loading would show otherwise: that nothing is missing."""


@dataclass(frozen=True, slots=True)
class _Done:
    """One command's end. `log` is the command and all that it printed."""

    failed: bool
    log: str


def nvcc_version() -> str:
    """All that it says of itself; empty where there is none."""
    nvcc = find_tool("nvcc")
    return run_program([nvcc, "--version"]).stdout.decode(errors="replace") if nvcc else ""


def compile_cuda(asked: Compilation) -> Compiled:
    """Compiles the sources beside one another, and links them."""
    nvcc = asked.nvcc or "nvcc"
    with tempfile.TemporaryDirectory(dir=asked.directory) as scratch:
        objects = [Path(scratch) / f"{number}.o" for number in range(len(asked.sources))]
        commands = [_compile(nvcc, asked, *pair) for pair in zip(asked.sources, objects, strict=True)]
        with ThreadPoolExecutor(_processes()) as pool:
            done = list(pool.map(_run, commands))
        log = "\n".join(each.log for each in done)
        if any(each.failed for each in done):
            return Compiled(None, log=log)
        directives = read_directives(each.read_text(errors="replace") for each in Path(scratch).rglob("*.ptx"))
        library = Path(asked.directory) / f"lib{asked.name}.so"
        linked = _run([nvcc, *LINK, *map(str, objects), "-o", str(library), *asked.link_flags])
    log = f"{log}\n{linked.log}"
    return Compiled(None, log=log) if linked.failed else Compiled(str(library), "", log, read_report(log, directives))


def _compile(nvcc: str, asked: Compilation, source: str, target: Path) -> list[str]:
    """One source to an object; the PTX on the way is kept beside it, in a folder of its own."""
    kept = target.with_suffix(".kept")
    kept.mkdir()
    wanted = [flag for flag, others in DEFAULTS.items() if not any(each.startswith(others) for each in asked.flags)]
    codes = [flag for architecture in asked.architectures for flag in code_flags(architecture)]
    threads = [f"--threads={min(len(asked.architectures), _processes())}"]
    folders = [f"-I{folder}" for folder in asked.include]
    keeping = ["--keep", f"--keep-dir={kept}"]
    return [
        nvcc, "-c", source, "-o", str(target), *wanted, *ALWAYS, *codes, *threads, *keeping, *_host_compiler(),
        *folders, *asked.flags,
    ]  # fmt: skip


def _host_compiler() -> list[str]:
    """CXX, where that is set, without what goes before a compiler (ccache) or behind it (its flags)."""
    words = [word for word in os.environ.get("CXX", "").split() if Path(word).name != "ccache"]
    return [f"-ccbin={words[0]}"] if words else []


def _processes() -> int:
    """How many to run at once: MAX_JOBS, as for torch's extensions, or one a processor."""
    chosen = os.environ.get("MAX_JOBS", "")
    return max(1, int(chosen) if chosen.isdecimal() else len(os.sched_getaffinity(0)))


def _run(command: Sequence[str]) -> _Done:
    done = run_program(command, stderr=subprocess.STDOUT)
    return _Done(done.returncode != 0, f"$ {' '.join(command)}\n{done.stdout.decode(errors='replace')}")
