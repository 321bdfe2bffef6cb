"""What a sentence about a call rests on: the counters it names, and when it is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gate.analysis.derived import Bound, Derived

LOW_OCCUPANCY_PCT = 25.0
NOTABLE = 0.10
"""Shares from here on are worth a sentence."""
NOTABLE_SPILLS = 0.005
EXCESS = 1.5
"""Memory traffic over the least that is needed, from here on."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What rules look at: a call, and the baseline's on the same workload where that was counted too."""

    it: Derived
    baseline: Derived | None = None

    def at(self, name: str) -> float:
        """A counter of the whole call; NaN where it is not measured, of which no comparison is true."""
        value = self.it.total(name)
        return float("nan") if value is None else value


@dataclass(frozen=True, slots=True)
class ExplanationRule:
    """A sentence, when it is true, and the counters that it names: without one of them it is not said."""

    name: str
    when: Callable[[Subject], bool]
    sentence: Callable[[Subject], str]
    names: tuple[str, ...] = ()

    def holds(self, subject: Subject) -> bool:
        """Whether to say it."""
        return all(subject.it.total(name) is not None for name in self.names) and self.when(subject)


def bound_is(bound: Bound) -> Callable[[Subject], bool]:
    """Whether that is what bounds the call."""
    return lambda subject: subject.it.bound is bound


def over(share: float | None, border: float) -> bool:
    """Whether a share is known, and at least that."""
    return share is not None and share >= border


def says(words: str) -> Callable[[Subject], str]:
    """The same for every subject."""
    return lambda subject: words  # noqa: ARG005


def conflicts(subject: Subject) -> bool:
    """Bank conflicts in shared memory worth a word."""
    return over(subject.it.conflict_share, NOTABLE)


def uncoalesced(subject: Subject) -> bool:
    """Sectors of global memory that are moved in vain."""
    return over(subject.it.uncoalesced_share, NOTABLE)


def no_tensor_cores(subject: Subject) -> bool:
    """The tensor cores were never active."""
    return subject.at("tensor_pct") == 0


def low_occupancy(subject: Subject) -> bool:
    """Few warps to hide latency behind."""
    return subject.at("occupancy_pct") < LOW_OCCUPANCY_PCT
