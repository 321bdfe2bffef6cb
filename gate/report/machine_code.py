"""Machine code for readers: one build's, or what changed between two."""

from __future__ import annotations

from collections.abc import Iterator

from gate.analysis.code_difference import Difference, KernelChange, Static
from gate.analysis.kernel_names import same_kernel
from gate.build.sass import TENSOR
from gate.records import MachineCode

KINDS = {"tensor": TENSOR, "LDGSTS": ("LDGSTS",), "LDSM": ("LDSM",), "BAR": ("BAR",), "LDL/STL": ("LDL", "STL")}
"""What is worth a column: matrix products, asynchronous copies, matrix loads, barriers, spilled registers."""
MAX_COUNTS = 8
MAX_NAME = 60


def static_text(static: Static) -> str:
    """One row a kernel and architecture."""
    from gate.report.table import table

    headers = ("kernel", "arch", "instructions", *KINDS, "barriers a tile", "registers", "shared", "spills")
    rows = table([_row(static, code) for code in static.codes], *headers)
    return f"{static.impl}: {static.fingerprint}\n\n{rows}"


def _row(static: Static, code: MachineCode) -> list[str]:
    counts = [str(sum(code.mix.get(kind, 0) for kind in kinds)) for kinds in KINDS.values()]
    barriers = "–" if code.barriers_per_tile is None else str(code.barriers_per_tile)
    return [
        code.kernel[:MAX_NAME],
        code.architecture,
        str(code.instructions),
        *counts,
        barriers,
        *_taken(static, code),
    ]


def _taken(static: Static, code: MachineCode) -> list[str]:
    """Registers, static shared memory and spilled bytes, by the compiler's report."""
    for each in static.resources:
        if each.architecture == code.architecture and same_kernel(each.kernel, code.kernel):
            return [
                "–" if each.registers is None else str(each.registers),
                str(each.shared_bytes),
                str(each.spill_bytes),
            ]
    return ["–"] * 3


def difference_text(difference: Difference) -> str:
    """First whether a measurement could show anything, then every kernel that changed."""
    if difference.identical:
        return f"{difference.after.impl}: the same program: a new measurement would tell nothing new"
    changes = [line for change in difference.changes for line in _change(change)]
    unchanged = "the machine code is the same; the host's code, or constants, changed"
    return "\n".join([f"{difference.after.impl}: changed", *(changes or [unchanged])])


def _change(change: KernelChange) -> Iterator[str]:
    largest = sorted(change.counts.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))[:MAX_COUNTS]
    counts = ", ".join(f"{name} {old} → {new}" for name, (old, new) in largest)
    yield f"{change.what}: {change.kernel} ({change.architecture}){': ' if counts else ''}{counts}"
