"""What `doctor` looked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gate.records.base import SCHEMA_VERSION, Record, SchemaVersion


@dataclass(frozen=True, slots=True)
class Finding(Record):
    """What was found, and the remedy where it is not as it should be (`present`).

    `needed` says whether the chosen device cannot do without.
    """

    item: str
    present: bool
    seen: str
    remedy: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Examination(Record):
    """All that was looked for, to judge candidates on a device."""

    device: str
    findings: tuple[Finding, ...]
    kind: Literal["doctor"] = "doctor"
    schema_version: SchemaVersion = SCHEMA_VERSION

    @property
    def missing(self) -> tuple[str, ...]:
        """What the device cannot do without."""
        return tuple(each.item for each in self.findings if each.needed and not each.present)
