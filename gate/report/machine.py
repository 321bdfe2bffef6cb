"""The machine and the registry as tables: what `doctor` and `candidates` print."""

from __future__ import annotations

from collections.abc import Iterable

from gate.doctor.availability import CandidateList, ListedCandidate
from gate.records.diagnosis import Finding
from gate.report.table import table


def candidates_table(listing: CandidateList) -> str:
    """One row a candidate."""
    rows = [
        *map(_listed, listing.candidates),
        *(("?", "–", "–", "–", f"no: {reason}", "–") for reason in listing.unreadable),
    ]
    return table(rows, "candidate", "language", "runs on", "supports", "here", "what it is")


def _listed(each: ListedCandidate) -> tuple[str, ...]:
    supports = each.supports
    sizes = f"D {', '.join(map(str, supports.head_dims))}" if supports.head_dims else "any D"
    causal = "; causal" if True in supports.causal else ""
    here = f"no: {each.missing}" if each.missing else "yes"
    places = ", ".join(each.architectures or each.devices)
    return each.name, each.language, places, f"{', '.join(supports.dtypes)}; {sizes}{causal}", here, each.summary


def doctor_table(findings: Iterable[Finding]) -> str:
    """One row a finding, with the remedy where something is missing."""
    rows = [
        (
            "✅" if finding.present else "❌" if finding.needed else "–",
            finding.item,
            finding.seen,
            "" if finding.present else finding.remedy,
        )
        for finding in findings
    ]
    return table(rows, "", "item", "seen", "remedy")
