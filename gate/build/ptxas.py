"""Reads kernels' resources from the output of ptxas -v, and launch bounds from PTX directives."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gate.machine.programs import run_program
from gate.records import KernelResources

ENTRY = re.compile(r"Compiling entry function '(?P<name>[^']+)' for 'sm_(?P<number>\d+)(?P<suffix>[af]?)'")
PROPERTIES = re.compile(r"Function properties for (?P<name>\S+)")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+)(?:\+(\d+))? bytes smem")
TARGET = re.compile(r"^\.target sm_(\d+)([af]?)", re.MULTILINE)
FUNCTION = re.compile(r"\.(?P<kind>entry|func)\b(?:\s*\([^)]*\))?\s+(?P<name>[\w$]+)(?P<directives>[^{;]*)\{")
DYNAMIC = re.compile(r"^\.extern \.shared .*?([\w$]+)\[\]", re.MULTILINE)
THREADS = re.compile(r"\.(?:maxntid|reqntid) (\d+)(?:, (\d+))?(?:, (\d+))?")


@dataclass(frozen=True, slots=True)
class Directives:
    """Launch facts in a kernel's PTX: the maximum threads of a block, and whether it uses dynamic shared memory."""

    threads: int | None
    dynamic_shared: bool


Read = Mapping[tuple[str, str], Directives]
"""By architecture and mangled name."""
NOTHING = Directives(None, False)


@dataclass(frozen=True, slots=True)
class _Function:
    """One function's part of the report."""

    name: str
    architecture: str
    stack: tuple[int, ...] = (0, 0, 0)
    """Bytes of the stack frame, of spill stores, and of spill loads."""
    registers: int | None = None
    shared_bytes: int = 0

    def or_worse(self, line: str) -> _Function:
        """With what this line says, where that is more."""
        if stack := STACK.search(line):
            return replace(self, stack=tuple(map(max, self.stack, map(int, stack.groups()))))
        if used := USED.search(line):
            registers, shared = max(self.registers or 0, int(used[1])), max(self.shared_bytes, _shared(line))
            return replace(self, registers=registers, shared_bytes=shared)
        return self


def read_ptxas(log: str, directives: Read) -> tuple[KernelResources, ...]:
    """Every kernel in ptxas's report, and what functions besides use stack; by architecture, then by name."""
    functions = list(_functions(log.splitlines()))
    names = demangle([each.name for each in functions])
    read = [
        KernelResources(
            kernel=name,
            architecture=each.architecture,
            registers=each.registers,
            shared_bytes=each.shared_bytes,
            spill_store_bytes=each.stack[1],
            spill_load_bytes=each.stack[2],
            stack_bytes=each.stack[0],
            threads=said.threads,
            dynamic_shared_bytes=None if said.dynamic_shared else 0,
        )
        for each, name in zip(functions, names, strict=True)
        if each.registers is not None or any(each.stack)
        for said in (directives.get((each.architecture, each.name), NOTHING),)
    ]
    return tuple(sorted(read, key=lambda each: (_natural(each.architecture), _natural(each.kernel))))


def _natural(text: str) -> list[tuple[int, str]]:
    """A key for natural sorting: 9.0 before 10.0, attend<64> before attend<128>."""
    return [(int(part or -1), rest) for part, rest in re.findall(r"(\d*)(\D*)", text)]


def _functions(lines: Iterable[str]) -> Iterable[_Function]:
    """`Function properties for` begins a function, its stack and, for a kernel, its registers follow.

    A `#pragma message` of the candidate's can print lines like ptxas's own, but take none away: of several readings
    the worst counts, so that imitating them makes no kernel look better.
    """
    architecture, key = "", None
    found: dict[tuple[str, str], _Function] = {}
    for line in lines:
        if entry := ENTRY.search(line):
            architecture = _architecture(entry["number"], entry["suffix"])
        elif properties := PROPERTIES.search(line):
            key = architecture, properties["name"]
            found.setdefault(key, _Function(properties["name"], architecture))
        elif key:
            found[key] = found[key].or_worse(line)
    return found.values()


def _shared(line: str) -> int:
    found = SHARED.search(line)
    return sum(int(part or 0) for part in found.groups()) if found else 0


def _architecture(number: str, suffix: str) -> str:
    """89 is 8.9, 120 is 12.0."""
    return f"{number[:-1]}.{number[-1]}{suffix}"


def read_directives(files: Iterable[str]) -> Read:
    """What these PTX files say of their kernels, one architecture each."""
    return dict(kernel for ptx in files for kernel in _kernels(ptx))


def _kernels(ptx: str) -> Iterator[tuple[tuple[str, str], Directives]]:
    target = TARGET.search(ptx)
    architecture = _architecture(*target.groups()) if target else ""
    shared = DYNAMIC.findall(ptx)
    functions = list(FUNCTION.finditer(ptx))
    ends = [following.start() for following in functions[1:]]
    for function, end in zip(functions, (*ends, len(ptx)), strict=False):  # without functions, there is an end alone
        if function["kind"] == "entry":
            body = DYNAMIC.sub("", ptx[function.end() : end])
            dynamic = any(name in body for name in shared)
            yield (architecture, function["name"]), Directives(_threads(function["directives"]), dynamic)


def _threads(directives: str) -> int | None:
    """The product of .maxntid x, y, z, which __launch_bounds__ compiles to."""
    bound = THREADS.search(directives)
    return math.prod(int(part or 1) for part in bound.groups()) if bound else None


def demangle(names: list[str]) -> list[str]:
    """Demangles names, without parameters and unnamed namespaces; unchanged if c++filt is not installed."""
    if not names or shutil.which("c++filt") is None:
        return names
    done = run_program(["c++filt", "-p"], input="\n".join(names).encode())
    lines = done.stdout.decode(errors="replace").replace("(anonymous namespace)::", "").splitlines()
    return lines if len(lines) == len(names) else names
