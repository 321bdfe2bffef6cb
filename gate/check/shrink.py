"""From a case that fails to a smallest one that does: pure, and told by a function what fails."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gate.records import CONTIGUOUS, NORMAL, Case

HEAD_DIMS = (1, 2, 4, 8, 16, 32, 64, 128)
"""What is tried of a candidate that takes any."""


def shrink(case: Case, fails: Callable[[Case], bool], head_dims: Sequence[int] = ()) -> Case:
    """Each factor in turn as small, or as plain, as it goes while the case still fails.

    Where failing is not monotonic in a size, a smaller case may exist.
    """
    for factor in ("seq_len", "batch", "heads"):
        case = _smaller(case, factor, fails)
    smaller = [each for each in sorted(head_dims or HEAD_DIMS) if each < case.workload.head_dim]
    for factor, values in (
        ("head_dim", smaller),
        ("causal", [False]),
        ("layout", [CONTIGUOUS]),
        ("distribution", [NORMAL]),
    ):
        plainer = (_with(case, factor, value) for value in values)
        case = next((each for each in plainer if each != case and fails(each)), case)
    return case


def _smaller(case: Case, factor: str, fails: Callable[[Case], bool]) -> Case:
    """Halves while that fails, then bisects towards the last size that did not."""
    size: int = getattr(case.workload, factor)
    while size > 1 and fails(_with(case, factor, size // 2)):
        size //= 2
    between = range(size // 2 + 1, size)
    found = bisect_left(between, True, key=lambda each: fails(_with(case, factor, each)))
    return _with(case, factor, between[found] if found < len(between) else size)


def _with(case: Case, factor: str, value: Any) -> Case:
    if factor in ("layout", "distribution"):
        return replace(case, **{factor: value})
    return replace(case, workload=replace(case.workload, **{factor: value}))
