"""Whether an output is correct, which checks were made, and where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records.base import Record, Status, require, require_times

MAX_BLOCKS = 16
"""The largest number of rows, and of columns, of an error map."""


@dataclass(frozen=True, slots=True)
class Check(Record):
    """One check and its evidence."""

    name: str
    passed: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Fault(Record):
    """Where an output is wrong: the worst head, and the range of its rows and columns with a wrong element.

    `by_head` divides batch × heads into blocks, `by_row` seq_len × head_dim of the worst head. A block has the
    largest ratio of error to limit: at most 1 is correct; None if an element is NaN, infinite or was not written.
    """

    batch: int
    head: int
    rows: tuple[int, int]
    """The first and the last."""
    columns: tuple[int, int]
    wrong_heads: int
    """The number of heads in the batch with a wrong element."""
    by_head: tuple[tuple[float | None, ...], ...]
    by_row: tuple[tuple[float | None, ...], ...]
    inputs: str = ""
    """On which inputs, such as `on other inputs`; empty for the first inputs."""

    def __post_init__(self) -> None:
        for grid in (self.by_head, self.by_row):
            small = 0 < len(grid) <= MAX_BLOCKS and all(0 < len(row) <= MAX_BLOCKS for row in grid)
            require(small, f"a map has 1 to {MAX_BLOCKS} rows and columns")


@dataclass(frozen=True, slots=True)
class Correctness(Record):
    """A candidate's output on one workload, compared with the float64 reference.

    `max_abs_err` is absent if the output has no finite number. `sdpa_max_abs_err` is SDPA's own error on the same
    inputs, or the error of rounding alone if that is larger; the second rule of the tolerance uses it. Both belong to
    the inputs of the case, and not to the additional, harder inputs.
    """

    status: Status
    message: str = ""
    checks: tuple[Check, ...] = ()
    max_abs_err: float | None = None
    sdpa_max_abs_err: float | None = None
    fault: Fault | None = None
    call_ms: float | None = None
    """The candidate's shortest call by the host's clock in its own process: an estimate of how long a trial takes."""

    def __post_init__(self) -> None:
        require_times(() if self.call_ms is None else (self.call_ms,))
        require(self.status is not Status.BUILD_FAILED, "a check cannot end as build_failed")
        failed = [check.name for check in self.checks if not check.passed]
        if self.status is Status.OK:
            require(bool(self.checks) and not failed, f"status ok contradicts its checks: {failed or 'none ran'}")
            measured = self.max_abs_err is not None and self.sdpa_max_abs_err is not None
            require(measured, "status ok needs the errors of candidate and SDPA")
        else:
            require(bool(self.message), "a check that is not ok has a message")
            require(self.status is not Status.INCORRECT or bool(failed), "incorrect needs a failed check")


def block_size(length: int) -> int:
    """The number of rows, or columns, that one character of an error map stands for."""
    return -(-length // MAX_BLOCKS)
