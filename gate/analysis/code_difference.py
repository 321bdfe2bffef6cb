"""Compares the machine code of two builds of a candidate. If it is identical, a new measurement is not needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gate.analysis.kernel_names import same_kernel
from gate.records import SCHEMA_VERSION, KernelResources, MachineCode, Record, SchemaVersion

RESOURCES = ("registers", "shared_bytes", "spill_bytes", "stack_bytes")


@dataclass(frozen=True, slots=True)
class Static(Record):
    """Static view of a build: its kernels' machine code, and a fingerprint of all that decides how it runs."""

    impl: str
    fingerprint: str
    codes: tuple[MachineCode, ...]
    resources: tuple[KernelResources, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelChange(Record):
    """The difference in one kernel on one architecture: (count before, count after) by name."""

    kernel: str
    architecture: str
    change: str
    """added, removed, changed, or moved (other instructions, but equal counts of each kind)."""
    counts: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Difference(Record):
    """The difference between two builds. `identical`: host code and GPU code are the same."""

    before: Static
    after: Static
    identical: bool
    changes: tuple[KernelChange, ...]
    schema_version: SchemaVersion = SCHEMA_VERSION


def compare_builds(before: Static, after: Static) -> Difference:
    """Compares kernels with equal name and architecture."""
    changes = tuple(_changes(before, after))
    return Difference(before, after, not changes and before.fingerprint == after.fingerprint, changes)


def _changes(before: Static, after: Static) -> Iterator[KernelChange]:
    for code in after.codes:
        old = _like(code, before.codes)
        if old is None:
            yield KernelChange(code.kernel, code.architecture, "added", {"instructions": (0, code.instructions)})
        elif old.digest != code.digest:
            counts = {**_mixes(old, code), **_resource_changes(before, after, code)}
            yield KernelChange(code.kernel, code.architecture, "changed" if counts else "moved", counts)
    for code in before.codes:
        if _like(code, after.codes) is None:
            yield KernelChange(code.kernel, code.architecture, "removed", {"instructions": (code.instructions, 0)})


def _like(code: MachineCode, others: Sequence[MachineCode]) -> MachineCode | None:
    same = (other for other in others if other.architecture == code.architecture)
    return next((match for match in same if same_kernel(match.kernel, code.kernel)), None)


def _mixes(old: MachineCode, new: MachineCode) -> dict[str, tuple[int, int]]:
    kinds = dict.fromkeys((*new.mix, *old.mix))
    counts = {"instructions": (old.instructions, new.instructions)}
    counts |= {kind: (old.mix.get(kind, 0), new.mix.get(kind, 0)) for kind in kinds}
    counts["barriers a tile"] = (old.barriers_per_tile or 0, new.barriers_per_tile or 0)
    return {name: pair for name, pair in counts.items() if pair[0] != pair[1]}


def _resource_changes(before: Static, after: Static, code: MachineCode) -> dict[str, tuple[int, int]]:
    """The resources that differ, from the compiler's report."""
    old, new = (_resources(side.resources, code) for side in (before, after))
    if old is None or new is None:
        return {}
    pairs = {name: (getattr(old, name) or 0, getattr(new, name) or 0) for name in RESOURCES}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _resources(resources: Sequence[KernelResources], code: MachineCode) -> KernelResources | None:
    same = (kernel for kernel in resources if kernel.architecture == code.architecture)
    return next((match for match in same if same_kernel(match.kernel, code.kernel)), None)
