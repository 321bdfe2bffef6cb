"""What `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gate.records.base import SCHEMA_VERSION, Record, SchemaVersion


@dataclass(frozen=True, slots=True)
class Finding(Record):
    """One finding; if it is not `present`, `remedy` says what to do.

    `needed`: without it nothing can be measured on the chosen device.
    """

    item: str
    present: bool
    evidence: str
    remedy: str
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Examination(Record):
    """All findings on a machine that is to judge candidates on this device."""

    device: str
    findings: tuple[Finding, ...]
    kind: Literal["doctor"] = "doctor"
    schema_version: SchemaVersion = SCHEMA_VERSION

    @property
    def missing(self) -> tuple[str, ...]:
        """Whatever is needed and absent."""
        return tuple(finding.item for finding in self.findings if finding.needed and not finding.present)
