"""Tables of machine code: of one build, or of the changes between two builds."""

from __future__ import annotations

from collections.abc import Iterator

from gate.analysis.code_difference import Difference, KernelChange, Static
from gate.analysis.kernel_names import same_kernel
from gate.build.sass import TENSOR
from gate.records import MachineCode

KINDS = {"tensor": TENSOR, "LDGSTS": ("LDGSTS",), "LDSM": ("LDSM",), "BAR": ("BAR",), "LDL/STL": ("LDL", "STL")}
"""The columns: matrix products, asynchronous copies, matrix loads, barriers, spilled registers."""
MAX_COUNTS = 8
MAX_NAME = 60


def static_text(static: Static) -> str:
    """One row for each kernel and architecture."""
    from gate.report.table import table

    headers = ("kernel", "arch", "instructions", *KINDS, "barriers per tile", "registers", "shared", "spills")
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
        *_resources(static, code),
    ]


def _resources(static: Static, code: MachineCode) -> list[str]:
    """Registers, static shared memory (bytes) and spills (bytes), from the compiler's report."""
    for kernel in static.resources:
        if kernel.architecture == code.architecture and same_kernel(kernel.kernel, code.kernel):
            return [
                "–" if kernel.registers is None else str(kernel.registers),
                str(kernel.shared_bytes),
                str(kernel.spill_bytes),
            ]
    return ["–"] * 3


def difference_text(difference: Difference) -> str:
    """Whether the program changed at all, then every changed kernel."""
    if difference.identical:
        return f"{difference.after.impl}: identical program; a new measurement is not needed"
    changes = [line for change in difference.changes for line in _change(change)]
    unchanged = "the kernels' machine code is identical; host code or constants changed"
    return "\n".join([f"{difference.after.impl}: changed", *(changes or [unchanged])])


def _change(change: KernelChange) -> Iterator[str]:
    largest = sorted(change.counts.items(), key=lambda pair: -abs(pair[1][1] - pair[1][0]))[:MAX_COUNTS]
    counts = ", ".join(f"{name} {old} → {new}" for name, (old, new) in largest)
    yield f"{change.change}: {change.kernel} ({change.architecture}){': ' if counts else ''}{counts}"
