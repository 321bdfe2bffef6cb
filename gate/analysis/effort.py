"""Whether a check or a trial fits its time limit, and whose fault it is where it does not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gate.records import Status

USED = 0.8
"""Of a time limit: the rest is for the start of the process, and for rounds that take longer than those before."""
SLOWER = 2.0
"""How many times SDPA's time a candidate takes before a limit that is too short is laid to it."""


PACKED = 0.6
"""Of a time limit: what replicates that share a process took before, together."""
ROUNDS = 2
"""The fewest rounds that show a pace."""
SLOW_PART = 0.25
"""Of a time limit: what so many calls take before a replicate that was ended counts as slow, and not as hung."""
LONGER = "choose a smaller shape, or raise limits.replicate_s"


@dataclass(frozen=True, slots=True)
class Effort:
    """Seconds of a check: the candidate's shortest call, the whole check, and the candidate's calls in it."""

    call_s: float
    whole_s: float
    candidate_s: float

    @classmethod
    def of(cls, runs: Sequence[tuple[float, float]], took_s: float, planned: int) -> Effort:
        """From `runs` of (shortest call, all calls), of so many that are planned: the others take what these took."""
        call_s, calls_s = min(shortest for shortest, _ in runs), sum(every for _, every in runs)
        left = planned - len(runs)
        beside_s = (took_s - calls_s) / len(runs)
        return cls(call_s, took_s + left * (call_s + beside_s), calls_s + left * call_s)

    def verdict(self, sdpa_s: float) -> tuple[Status, str]:
        """What a check that does not fit its limit means, beside SDPA's time for one call."""
        calls = f"one call takes {self.call_s:.3g} s, and SDPA's {sdpa_s:.3g} s"
        if self.candidate_s < self.whole_s / 2 or self.call_s < SLOWER * sdpa_s:
            reason = f"the check would take {self.whole_s:.0f} s, more than limits.check_s leaves it ({calls})"
            return Status.ENVIRONMENT, f"{reason}; choose a smaller shape, or raise limits.check_s"
        times = f"{self.call_s / sdpa_s:,.0f} times as long"
        return (
            Status.TOO_SLOW,
            f"{calls}, {times}: the check would take {self.whole_s:.0f} s; limits.check_s may be raised",
        )


def share(seconds: Sequence[float | None], limit_s: float) -> list[list[int]]:
    """Indices of what may share a process: all whose time is unknown, and of the others as many as fit together."""
    unknown = [index for index, each in enumerate(seconds) if each is None]
    groups, left_s = [unknown] if unknown else [], 0.0
    for index, each in enumerate(seconds):
        if each is None:
            continue
        if not left_s or each > left_s:
            groups.append([])
            left_s = PACKED * limit_s
        groups[-1].append(index)
        left_s = max(0.0, left_s - each)
    return groups


def too_slow(call_ms: float, baseline_ms: float, limit_s: float) -> tuple[Status, str] | None:
    """What a replicate that was ended means by what one call took in the check; None where that call was short."""
    if ROUNDS * call_ms / 1e3 < SLOW_PART * limit_s:
        return None
    seen = f"one call took {call_ms / 1e3:.3g} s in the check, and the baseline's {baseline_ms / 1e3:.3g} s"
    if call_ms < SLOWER * baseline_ms:
        return Status.ENVIRONMENT, f"{seen}: no {ROUNDS} rounds fit {limit_s:g} s; {LONGER}"
    times = f"{call_ms / baseline_ms:,.0f} times as long"
    return Status.TOO_SLOW, f"{seen}, {times}: no {ROUNDS} rounds fit limits.replicate_s ({limit_s:g} s)"
