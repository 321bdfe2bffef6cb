"""Disassembles a build's machine code and counts its instructions, without running it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gate.analysis.code_difference import Static
from gate.build.elf import fingerprint
from gate.build.sass import DUMP_S, PROGRAM, dump, read_sass
from gate.candidates.registry import Candidate
from gate.errors import BadInputError, UnfitEnvironmentError
from gate.machine.cuda_tools import REMEDIES, require_tool
from gate.machine.programs import run_program
from gate.records import Build


def with_machine_code(candidate: Candidate) -> Candidate:
    """Returns the candidate. Raises BadInputError if it is not compiled by nvcc."""
    if candidate.language != "cuda":
        raise BadInputError(
            f"only CUDA candidates have machine code to inspect, but {candidate.name} is {candidate.language}; "
            "choose a CUDA candidate (`kernel-gate candidates` lists them)"
        )
    return candidate


def inspect(build: Build) -> Static:
    """The static counters of a CUDA candidate's build. Raises UnfitEnvironmentError without a disassembler."""
    library = Path(build.library or "")
    text = dump(library)
    if text is None:
        raise UnfitEnvironmentError(f"{PROGRAM} cannot disassemble {library}; {REMEDIES[PROGRAM]}")
    return Static(build.impl, fingerprint(library.read_bytes(), _cubins(library)), read_sass(text), build.resources)


def _cubins(library: Path) -> list[bytes]:
    """The cubins in a library."""
    with tempfile.TemporaryDirectory() as folder:
        command = [require_tool(PROGRAM), "-xelf", "all", str(library.resolve())]
        run_program(command, own_folder_first=True, cwd=folder, timeout=DUMP_S)
        return [path.read_bytes() for path in Path(folder).glob("*.cubin")]
