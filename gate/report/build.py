"""Tables of a build: its status, and the resources of its kernels."""

from __future__ import annotations

from collections.abc import Sequence

from gate.candidates.tunables import to_text
from gate.records import Build, KernelResources, Status
from gate.report.table import table


def build_table(build: Build) -> str:
    """The build's status, then the kernels' resources, or the compiler's output if the build failed."""
    rows = [
        ("candidate", build.impl),
        ("status", build.status.value),
        ("cache", "hit" if build.cached else "miss"),
        ("seconds", f"{build.seconds:.2f}"),
        ("library", build.library or "–"),
        *((("configuration", to_text(build.config)),) if build.config else ()),
        *((("architectures", ", ".join(build.architectures)),) if build.architectures else ()),
        *((("message", build.message),) if build.message else ()),
    ]
    below = resources_table(build.resources) if build.status is Status.OK else build.log.strip()
    return "\n\n".join(filter(None, (table(rows), below)))


def resources_table(resources: Sequence[KernelResources]) -> str:
    """One row for each kernel and architecture; empty if no resources are known."""
    headers = ("kernel", "arch", "registers", "shared", "spills", "stack", "threads", "occupancy", "limited by")
    return table(map(_resources, resources), *headers) if resources else ""


def _resources(kernel: KernelResources) -> tuple[str, ...]:
    """Shared memory is static + dynamic, spills are stores + loads; all in bytes."""
    dynamic = {None: " + ?", 0: ""}.get(kernel.dynamic_shared_bytes, f" + {kernel.dynamic_shared_bytes}")
    occupancy, at_most = kernel.filled, "" if kernel.known else "at most "
    occupied = (f"{at_most}{occupancy.fraction:.0%}", occupancy.limited_by) if occupancy else ("–", "–")
    return (
        kernel.kernel, kernel.architecture, "–" if kernel.registers is None else str(kernel.registers),
        f"{kernel.shared_bytes}{dynamic}", f"{kernel.spill_store_bytes} + {kernel.spill_load_bytes}",
        str(kernel.stack_bytes), str(kernel.threads or "–"), *occupied,
    )  # fmt: skip
