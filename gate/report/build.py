"""Builds as tables: how a build went, and what its kernels take."""

from __future__ import annotations

from collections.abc import Sequence

from gate.candidates.tunables import to_text
from gate.records import Build, KernelResources, Status
from gate.report.table import table


def build_table(build: Build) -> str:
    """How a build went; where it failed, the compiler's own words; else what its kernels take."""
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
    """One row a kernel and architecture; nothing where none is known."""
    headers = ("kernel", "arch", "registers", "shared", "spills", "stack", "threads", "occupancy", "limited by")
    return table(map(_resources, resources), *headers) if resources else ""


def _resources(each: KernelResources) -> tuple[str, ...]:
    """Shared memory is static + dynamic, spills are stores + loads; all in bytes."""
    dynamic = {None: " + ?", 0: ""}.get(each.dynamic_shared_bytes, f" + {each.dynamic_shared_bytes}")
    filled, most = each.filled, "" if each.known else "at most "
    occupied = (f"{most}{filled.fraction:.0%}", filled.limited_by) if filled else ("–", "–")
    return (
        each.kernel, each.architecture, "–" if each.registers is None else str(each.registers),
        f"{each.shared_bytes}{dynamic}", f"{each.spill_store_bytes} + {each.spill_load_bytes}", str(each.stack_bytes),
        str(each.threads or "–"), *occupied,
    )  # fmt: skip
