"""Tables of the machine and of the registry, for `doctor` and `candidates`."""

from __future__ import annotations

from collections.abc import Iterable

from gate.doctor.availability import CandidateList, ListedCandidate
from gate.records.diagnosis import Finding
from gate.report.table import table


def candidates_table(listing: CandidateList) -> str:
    """One row for each candidate."""
    rows = [
        *map(_listed, listing.candidates),
        *(("?", "–", "–", "–", f"no: {reason}", "–") for reason in listing.unreadable),
    ]
    return table(rows, "candidate", "language", "runs on", "supports", "available here", "description")


def _listed(candidate: ListedCandidate) -> tuple[str, ...]:
    supports = candidate.supports
    sizes = f"D {', '.join(map(str, supports.head_dims))}" if supports.head_dims else "any D"
    causal = "; causal" if True in supports.causal else ""
    available = f"no: {candidate.missing}" if candidate.missing else "yes"
    targets = ", ".join(candidate.architectures or candidate.devices)
    workloads = f"{', '.join(supports.dtypes)}; {sizes}{causal}"
    return candidate.name, candidate.language, targets, workloads, available, candidate.summary


def doctor_table(findings: Iterable[Finding]) -> str:
    """One row for each finding, with the remedy if something is missing."""
    rows = [
        (
            "✅" if finding.present else "❌" if finding.needed else "–",
            finding.item,
            finding.evidence,
            "" if finding.present else finding.remedy,
        )
        for finding in findings
    ]
    return table(rows, "", "item", "found", "remedy")
