"""Rules for sentences about a call: the counters that a sentence needs, and the condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gate.analysis.derived import Bound, Derived

LOW_OCCUPANCY_PCT = 25.0
NOTABLE = 0.10
"""Shares at or above this are reported."""
NOTABLE_SPILLS = 0.005
EXCESS = 1.5
"""Memory traffic over the necessary minimum: ratios at or above this are reported."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Input of the rules: a call, and the baseline's call on the same workload, if counted."""

    call: Derived
    baseline: Derived | None = None

    def at(self, name: str) -> float:
        """A counter of the whole call; NaN if it is not measured, so every comparison with it is false."""
        value = self.call.total(name)
        return float("nan") if value is None else value


@dataclass(frozen=True, slots=True)
class ExplanationRule:
    """A sentence, its condition, and the counters that it needs."""

    name: str
    when: Callable[[Subject], bool]
    sentence: Callable[[Subject], str]
    names: tuple[str, ...] = ()

    def holds(self, subject: Subject) -> bool:
        """Whether all its counters are measured and its condition is true."""
        return all(subject.call.total(name) is not None for name in self.names) and self.when(subject)


def bound_is(bound: Bound) -> Callable[[Subject], bool]:
    """A condition: the call is bound by `bound`."""
    return lambda subject: subject.call.bound is bound


def over(share: float | None, border: float) -> bool:
    """Whether a share is known and at least `border`."""
    return share is not None and share >= border


def states(text: str) -> Callable[[Subject], str]:
    """The same sentence for every subject."""
    return lambda subject: text  # noqa: ARG005


def conflicts(subject: Subject) -> bool:
    """Notable bank conflicts in shared memory."""
    return over(subject.call.conflict_share, NOTABLE)


def uncoalesced(subject: Subject) -> bool:
    """Notable waste of global memory sectors by uncoalesced accesses."""
    return over(subject.call.uncoalesced_share, NOTABLE)


def no_tensor_cores(subject: Subject) -> bool:
    """The tensor cores were never active."""
    return subject.at("tensor_pct") == 0


def low_occupancy(subject: Subject) -> bool:
    """Too few active warps to hide latency."""
    return subject.at("occupancy_pct") < LOW_OCCUPANCY_PCT
