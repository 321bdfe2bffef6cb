"""Decides whether a check or a trial fits its time limit, and whether the candidate is the cause if not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gate.records import Status

USED = 0.8
"""Share of a time limit to plan with; the rest is for the start of the process and for slower rounds."""
SLOWER = 2.0
"""A candidate is the cause of an exceeded limit only if it takes at least this many times SDPA's time."""


PACKED = 0.6
"""Share of a time limit that the estimated replicates of one process may take together."""
ROUNDS = 2
"""Minimum number of rounds for an estimate of the pace."""
SLOW_PART = 0.25
"""Share of a time limit: a stopped replicate whose calls would take at least this is slow; otherwise it hung."""
LONGER = "choose a smaller shape, or raise limits.replicate_s"


@dataclass(frozen=True, slots=True)
class Effort:
    """Seconds of a check: the candidate's shortest call, the whole check, and the candidate's calls in it."""

    call_s: float
    whole_s: float
    candidate_s: float

    @classmethod
    def of(cls, runs: Sequence[tuple[float, float]], took_s: float, planned: int) -> Effort:
        """Extrapolates from the finished `runs`, (shortest call, sum of calls) in seconds, to `planned` runs."""
        call_s, calls_s = min(shortest for shortest, _ in runs), sum(every for _, every in runs)
        left = planned - len(runs)
        beside_s = (took_s - calls_s) / len(runs)
        return cls(call_s, took_s + left * (call_s + beside_s), calls_s + left * call_s)

    def verdict(self, sdpa_s: float) -> tuple[Status, str]:
        """Status and message of a check that exceeds its limit; `sdpa_s`: SDPA's time for one call."""
        calls = f"one call takes {self.call_s:.3g} s, SDPA's takes {sdpa_s:.3g} s"
        if self.candidate_s < self.whole_s / 2 or self.call_s < SLOWER * sdpa_s:
            reason = f"the check would take {self.whole_s:.0f} s and exceed limits.check_s ({calls})"
            return Status.ENVIRONMENT, f"{reason}; choose a smaller shape, or raise limits.check_s"
        times = f"{self.call_s / sdpa_s:,.0f} times as long"
        reason = f"the check would take {self.whole_s:.0f} s and exceed limits.check_s"
        return Status.TOO_SLOW, f"{calls} ({times}): {reason}; make the kernel faster, or raise limits.check_s"


def share(seconds: Sequence[float | None], limit_s: float) -> list[list[int]]:
    """Groups indices that share a process: those of unknown time together, the others as many as fit the limit."""
    unknown = [index for index, estimate_s in enumerate(seconds) if estimate_s is None]
    groups, left_s = [unknown] if unknown else [], 0.0
    for index, estimate_s in enumerate(seconds):
        if estimate_s is None:
            continue
        if not left_s or estimate_s > left_s:
            groups.append([])
            left_s = PACKED * limit_s
        groups[-1].append(index)
        left_s = max(0.0, left_s - estimate_s)
    return groups


def too_slow(call_ms: float, baseline_ms: float, limit_s: float) -> tuple[Status, str] | None:
    """Status and message of a replicate that exceeded its limit, from one call's time in the check; None if short."""
    if ROUNDS * call_ms / 1e3 < SLOW_PART * limit_s:
        return None
    calls = f"one call took {call_ms / 1e3:.3g} s in the check, the baseline's took {baseline_ms / 1e3:.3g} s"
    if call_ms < SLOWER * baseline_ms:
        return Status.ENVIRONMENT, f"{calls}: {ROUNDS} rounds exceed limits.replicate_s ({limit_s:g} s); {LONGER}"
    times = f"{call_ms / baseline_ms:,.0f} times as long"
    return Status.TOO_SLOW, f"{calls} ({times}): {ROUNDS} rounds exceed limits.replicate_s ({limit_s:g} s)"
