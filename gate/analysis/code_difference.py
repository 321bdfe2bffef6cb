"""Two builds of a candidate: what changed in the machine code. Where nothing did, measuring again tells nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gate.analysis.kernel_names import same_kernel
from gate.records import SCHEMA_VERSION, KernelResources, MachineCode, Record

RESOURCES = ("registers", "shared_bytes", "spill_bytes", "stack_bytes")


@dataclass(frozen=True, slots=True)
class Static(Record):
    """A build without running it: its kernels' code, and a fingerprint of all that decides how it runs."""

    impl: str
    fingerprint: str
    codes: tuple[MachineCode, ...]
    resources: tuple[KernelResources, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelChange(Record):
    """What differs in one kernel on one architecture: counts before and after, by name."""

    kernel: str
    architecture: str
    what: str
    """added, removed, changed, or moved: other instructions, though as many of each kind."""
    counts: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Difference(Record):
    """From one build to another. `identical`: both run alike, on the host and on the GPU."""

    before: Static
    after: Static
    identical: bool
    changes: tuple[KernelChange, ...]
    schema_version: int = SCHEMA_VERSION


def compare_builds(before: Static, after: Static) -> Difference:
    """Kernel by kernel, those of one name and architecture."""
    changes = tuple(_changes(before, after))
    return Difference(before, after, not changes and before.fingerprint == after.fingerprint, changes)


def _changes(before: Static, after: Static) -> Iterator[KernelChange]:
    for code in after.codes:
        old = _like(code, before.codes)
        if old is None:
            yield KernelChange(code.kernel, code.architecture, "added", {"instructions": (0, code.instructions)})
        elif old.digest != code.digest:
            counts = {**_mixes(old, code), **_taken(before, after, code)}
            yield KernelChange(code.kernel, code.architecture, "changed" if counts else "moved", counts)
    for code in before.codes:
        if _like(code, after.codes) is None:
            yield KernelChange(code.kernel, code.architecture, "removed", {"instructions": (code.instructions, 0)})


def _like(code: MachineCode, others: Sequence[MachineCode]) -> MachineCode | None:
    same = (other for other in others if other.architecture == code.architecture)
    return next((each for each in same if same_kernel(each.kernel, code.kernel)), None)


def _mixes(old: MachineCode, new: MachineCode) -> dict[str, tuple[int, int]]:
    kinds = dict.fromkeys((*new.mix, *old.mix))
    counts = {"instructions": (old.instructions, new.instructions)}
    counts |= {kind: (old.mix.get(kind, 0), new.mix.get(kind, 0)) for kind in kinds}
    counts["barriers a tile"] = (old.barriers_per_tile or 0, new.barriers_per_tile or 0)
    return {name: pair for name, pair in counts.items() if pair[0] != pair[1]}


def _taken(before: Static, after: Static, code: MachineCode) -> dict[str, tuple[int, int]]:
    """What the compiler says that each takes, where it differs."""
    old, new = (_resources(side.resources, code) for side in (before, after))
    if old is None or new is None:
        return {}
    pairs = {name: (getattr(old, name) or 0, getattr(new, name) or 0) for name in RESOURCES}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _resources(resources: Sequence[KernelResources], code: MachineCode) -> KernelResources | None:
    same = (kernel for kernel in resources if kernel.architecture == code.architecture)
    return next((each for each in same if same_kernel(each.kernel, code.kernel)), None)
