"""Shrinks a failing case to a smaller one that still fails. Pure: a function decides whether a case fails."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gate.records import CONTIGUOUS, NORMAL, Case

HEAD_DIMS = (1, 2, 4, 8, 16, 32, 64, 128)
"""The head sizes to try for a candidate that supports any."""


def shrink(case: Case, fails: Callable[[Case], bool], head_dims: Sequence[int] = ()) -> Case:
    """Reduces one factor after the other to the smallest or simplest value with which the case still fails.

    If failing is not monotonic in a size, a smaller failing case may exist.
    """
    for factor in ("seq_len", "batch", "heads"):
        case = _smaller(case, factor, fails)
    smaller = [size for size in sorted(head_dims or HEAD_DIMS) if size < case.workload.head_dim]
    for factor, values in (
        ("head_dim", smaller),
        ("causal", [False]),
        ("layout", [CONTIGUOUS]),
        ("distribution", [NORMAL]),
    ):
        simpler = (_with(case, factor, value) for value in values)
        case = next((other for other in simpler if other != case and fails(other)), case)
    return case


def _smaller(case: Case, factor: str, fails: Callable[[Case], bool]) -> Case:
    """Halves the size while the case fails, then bisects towards the last size that passed."""
    size: int = getattr(case.workload, factor)
    while size > 1 and fails(_with(case, factor, size // 2)):
        size //= 2
    between = range(size // 2 + 1, size)
    found = bisect_left(between, True, key=lambda smaller: fails(_with(case, factor, smaller)))
    return _with(case, factor, between[found] if found < len(between) else size)


def _with(case: Case, factor: str, value: Any) -> Case:
    if factor in ("layout", "distribution"):
        return replace(case, **{factor: value})
    return replace(case, workload=replace(case.workload, **{factor: value}))
