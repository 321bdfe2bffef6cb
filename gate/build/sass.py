"""Reads the output of `cuobjdump -sass` and counts instructions kernel by kernel. Needs no GPU."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gate.build.ptxas import demangle
from gate.machine.cuda_tools import find_tool
from gate.machine.programs import run_program
from gate.records import MachineCode

PROGRAM = "cuobjdump"
DUMP_S = 120.0
ARCHITECTURE = re.compile(r"^\s*code for sm_(\d+)(\d)([af]?)")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:\{\s*)?((?:@!?U?P\w+\s+)?([A-Z]\w*)[^;]*?)\s*;")
TARGET = re.compile(r"\bBRA(?:\.\w+)*\s+.*?(?:`\(\S+\)|0x([0-9a-f]+))")
PADDING = "NOP"
TENSOR = ("HMMA", "HGMMA", "IMMA", "IGMMA", "QMMA", "QGMMA", "DMMA", "OMMA", "UTCHMMA", "UTCQMMA")
SCALAR = ("FFMA", "HFMA2", "FADD", "FMUL", "MUFU")
A_TENSOR = 64
"""The weight of a tensor instruction against a scalar one, to find the loop with the most arithmetic."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of SASS. `target` is the address that a branch jumps to."""

    address: int
    text: str
    kind: str
    target: int | None = None


def dump(library: Path) -> str | None:
    """The SASS in a library, as text; None if cuobjdump is not installed or fails."""
    program = find_tool(PROGRAM)
    if program is None:
        return None
    try:
        done = run_program([program, "-sass", str(library)], own_folder_first=True, timeout=DUMP_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def read_sass(text: str) -> tuple[MachineCode, ...]:
    """Every kernel in the dump, for every architecture, in its order."""
    found = list(_functions(text.splitlines()))
    names = demangle([name for name, _, _ in found])
    return tuple(_code(name, arch, code) for name, (_, arch, code) in zip(names, found, strict=True) if code)


def _functions(lines: Iterable[str]) -> Iterator[tuple[str, str, list[Instruction]]]:
    architecture = of_name = name = ""
    code: list[Instruction] = []
    for line in lines:
        if match := ARCHITECTURE.match(line):
            architecture = f"{match[1]}.{match[2]}{match[3]}"
        elif match := FUNCTION.match(line):
            if name:
                yield name, of_name, code
            name, of_name, code = match[1], architecture, []
        elif name and (match := INSTRUCTION.match(line)):
            code.append(_instruction(int(match[1], 16), match[2], match[3]))
    if name:
        yield name, of_name, code


def _instruction(address: int, text: str, kind: str) -> Instruction:
    branch = TARGET.search(text) if kind == "BRA" else None
    return Instruction(address, text, kind, int(branch[1], 16) if branch and branch[1] else None)


def _code(kernel: str, architecture: str, code: Sequence[Instruction]) -> MachineCode:
    real = _without_end(code)
    mix = Counter(each.kind for each in real)
    text = "\n".join(f"{each.address:x} {each.text}" for each in real)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    ordered = dict(sorted(mix.items(), key=lambda pair: (-pair[1], pair[0])))
    return MachineCode(kernel, architecture, digest, len(real), ordered, barriers_per_tile(real))


def _without_end(code: Sequence[Instruction]) -> list[Instruction]:
    """The code without the padding at its end: a branch to itself, and NOPs."""
    return [each for each in code if each.kind != PADDING and each.target != each.address]


def barriers_per_tile(code: Sequence[Instruction]) -> int | None:
    """Barriers per iteration of the loop with the most arithmetic; None if no loop has any arithmetic."""
    loops = {(each.target, each.address) for each in code if each.target is not None and each.target < each.address}
    bodies = [_own(code, loop, loops) for loop in loops]
    busiest = max(bodies, key=_arithmetic, default=[])
    return sum(each.kind == "BAR" for each in busiest) if _arithmetic(busiest) else None


def _own(code: Sequence[Instruction], loop: tuple[int, int], loops: Iterable[tuple[int, int]]) -> list[Instruction]:
    """A loop's instructions, without those of inner loops."""
    first, last = loop
    inner = [each for each in loops if each != loop and first <= each[0] and each[1] <= last]
    return [
        each
        for each in code
        if first <= each.address <= last and not any(low <= each.address <= high for low, high in inner)
    ]


def _arithmetic(body: Iterable[Instruction]) -> int:
    weights: Mapping[str, int] = {**dict.fromkeys(SCALAR, 1), **dict.fromkeys(TENSOR, A_TENSOR)}
    return sum(weights.get(each.kind, 0) for each in body)
