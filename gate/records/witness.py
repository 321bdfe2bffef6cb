"""Times by the clock of a process that never loaded the candidate."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records.base import Record, Status, require, require_counts, require_times

MAX_IPC_OVERHEAD_MS, MAX_IPC_OVERHEAD_SHARE = 1.0, 0.25
"""The most that is subtracted from a batch as overhead of inter-process communication (IPC), whichever is larger.
On an H200, 0.6 to 0.9 ms were measured, most of it context switches of the GPU; on two busy cores, where threads wake
late, 1 to 6 ms of 20 ms. A candidate that slows only the witness's own baseline process would gain what is subtracted
beyond the true overhead."""


@dataclass(frozen=True, slots=True)
class Witness(Record):
    """Candidate and baseline, timed by a process that never loaded the candidate, and that verified the outputs.

    Times are of batches of `launches` calls, in the order taken; each call has inputs and an output of its own.
    The candidate's times include IPC with its process. The baseline was timed within the witness
    (`baseline_local_ms`), and in a process like the candidate's (`baseline_ipc_ms`).
    """

    status: Status
    message: str = ""
    launches: int = 0
    candidate_ms: tuple[float, ...] = ()
    baseline_local_ms: tuple[float, ...] = ()
    baseline_ipc_ms: tuple[float, ...] = ()
    uncaptured: bool = False
    """Whether the host launched every call, because the candidate's calls cannot be captured in a CUDA graph."""
    baseline_solo_ms: float | None = None
    """The baseline's shortest batch within the witness before the candidate's code was loaded."""
    merge_base_ms: tuple[float, ...] | None = None
    """Batches of the candidate as of the merge base, as `candidate_ms`. Null: not measured."""

    def __post_init__(self) -> None:
        series = self.candidate_ms, self.baseline_local_ms, self.baseline_ipc_ms
        times = [time for batches in series for time in batches]
        require_times(times if self.baseline_solo_ms is None else (*times, self.baseline_solo_ms))
        require_times(self.merge_base_ms or ())
        require_counts((self.launches,))
        require(
            len({len(batches) for batches in series}) == 1,
            "every round times the candidate once and the baseline twice",
        )
        if self.status is Status.OK:
            require(bool(times) and self.launches >= 1, "a witness that is ok has times")
        else:
            require(bool(self.message) and not times, "a witness that is not ok has a message, and no times")

    @property
    def ratio(self) -> float:
        """Candidate over baseline, by the shortest batch of each, because a disturbance makes a batch longer.

        The IPC overhead is subtracted; the result is at least 0. Uncaptured calls all have the host's launch latency,
        also in the baseline's process: there the two are divided as they are.
        """
        if self.uncaptured:
            return min(self.candidate_ms) / min(self.baseline_ipc_ms)
        return max(0.0, min(self.candidate_ms) - self.ipc_overhead_ms) / min(self.baseline_local_ms)

    @property
    def ipc_overhead_ms(self) -> float:
        """The overhead of IPC, as the baseline shows it."""
        near = min(self.baseline_local_ms)
        return min(
            max(MAX_IPC_OVERHEAD_MS, MAX_IPC_OVERHEAD_SHARE * near), max(0.0, min(self.baseline_ipc_ms) - near)
        )
