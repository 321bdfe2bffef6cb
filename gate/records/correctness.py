"""Whether an answer was right, what was looked at to say so, and where it was not."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records.base import Record, Status, require, require_times

MAX_BLOCKS = 16
"""Along each side of a map of where an answer is wrong."""


@dataclass(frozen=True, slots=True)
class Check(Record):
    """One thing that was looked at, and what was seen."""

    name: str
    passed: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Fault(Record):
    """Where an answer is wrong: the worst head, and in it all rows and columns that hold something wrong.

    `by_head` is coarse over batch × heads, `by_row` over seq_len × head_dim of the worst head: of each block the
    largest error, in limits, so that up to 1 is right; None where something is NaN, infinite or was not written.
    """

    batch: int
    head: int
    rows: tuple[int, int]
    """The first and the last."""
    columns: tuple[int, int]
    wrong_heads: int
    """Of all heads in the batch, how many hold something wrong."""
    by_head: tuple[tuple[float | None, ...], ...]
    by_row: tuple[tuple[float | None, ...], ...]
    inputs: str = ""
    """On which inputs, where not on the first: `on other inputs`."""

    def __post_init__(self) -> None:
        for grid in (self.by_head, self.by_row):
            small = 0 < len(grid) <= MAX_BLOCKS and all(0 < len(row) <= MAX_BLOCKS for row in grid)
            require(small, f"a map has 1 to {MAX_BLOCKS} rows and columns")


@dataclass(frozen=True, slots=True)
class Correctness(Record):
    """A candidate's answer on one workload, held against the float64 reference.

    `max_abs_err` is absent where the output held no finite number to compare; `sdpa_max_abs_err` is what SDPA itself
    errs by on the same inputs, or may by rounding alone: the second rule of the tolerance is built on it. Both are of
    the inputs that the case asks for, and not of the harder ones that are looked at besides.
    """

    status: Status
    message: str = ""
    checks: tuple[Check, ...] = ()
    max_abs_err: float | None = None
    sdpa_max_abs_err: float | None = None
    fault: Fault | None = None
    call_ms: float | None = None
    """The shortest of the candidate's calls, by the host's clock in its own process: says how long a trial takes."""

    def __post_init__(self) -> None:
        require_times(() if self.call_ms is None else (self.call_ms,))
        require(self.status is not Status.BUILD_FAILED, "a check cannot end as build_failed")
        failed = [check.name for check in self.checks if not check.passed]
        if self.status is Status.OK:
            require(bool(self.checks) and not failed, f"status ok contradicts its checks: {failed or 'none ran'}")
            measured = self.max_abs_err is not None and self.sdpa_max_abs_err is not None
            require(measured, "status ok needs the errors of candidate and SDPA")
        else:
            require(bool(self.message), "a failed check says why")
            require(self.status is not Status.INCORRECT or bool(failed), "incorrect needs a failed check")


def block_size(length: int) -> int:
    """How many rows, or columns, one character of a map stands for."""
    return -(-length // MAX_BLOCKS)
