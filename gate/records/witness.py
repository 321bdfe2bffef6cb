"""What a process saw that never loaded the candidate."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records.base import Record, Status, require, require_counts, require_times

MAX_IPC_OVERHEAD_MS, MAX_IPC_OVERHEAD_SHARE = 1.0, 0.25
"""Whichever is more of a batch: more than the way to another process and back took, 0.6 to 0.9 ms on an H200, most of
it the GPU's changes of context, and 1 to 6 ms of 20 on two busy cores, where threads are slow to wake. What is taken
off beyond what it takes, a candidate gains that slows the witness's own player alone."""


@dataclass(frozen=True, slots=True)
class Witness(Record):
    """Candidate and baseline by the clock of a process that never loaded the candidate, and that verified outputs.

    Milliseconds of batches of `launches` calls, in the order taken; each call has inputs and an output of its own.
    The candidate's batches include the way to its process and back; the baseline was timed within the witness
    (`baseline_local_ms`), and in a process like the candidate's (`baseline_ipc_ms`).
    """

    status: Status
    message: str = ""
    launches: int = 0
    candidate_ms: tuple[float, ...] = ()
    baseline_local_ms: tuple[float, ...] = ()
    baseline_ipc_ms: tuple[float, ...] = ()
    uncaptured: bool = False
    """Whether the processes called one after the other, as no graph could be made of the candidate's calls."""
    baseline_solo_ms: float | None = None
    """The baseline's shortest batch within the witness before the candidate's code was loaded."""
    merge_base_ms: tuple[float, ...] | None = None
    """Batches of the candidate as of the merge base, as `candidate_ms`. Null: not measured."""

    def __post_init__(self) -> None:
        every = self.candidate_ms, self.baseline_local_ms, self.baseline_ipc_ms
        times = [each for batch in every for each in batch]
        require_times(times if self.baseline_solo_ms is None else (*times, self.baseline_solo_ms))
        require_times(self.merge_base_ms or ())
        require_counts((self.launches,))
        require(len({len(each) for each in every}) == 1, "every round times candidate and baseline twice")
        if self.status is Status.OK:
            require(bool(times) and self.launches >= 1, "a witness that is ok saw both")
        else:
            require(bool(self.message) and not times, "a witness that failed says why, and saw no times")

    @property
    def ratio(self) -> float:
        """Candidate over baseline, each by its shortest batch: what disturbs a batch makes it longer.

        Less what the way to a process and back takes, as the baseline shows it. Not under 0. Direct calls have the
        host's latency each, in the baseline's process too.
        """
        if self.uncaptured:
            return min(self.candidate_ms) / min(self.baseline_ipc_ms)
        return max(0.0, min(self.candidate_ms) - self.ipc_overhead_ms) / min(self.baseline_local_ms)

    @property
    def ipc_overhead_ms(self) -> float:
        """To a process and back."""
        near = min(self.baseline_local_ms)
        return min(
            max(MAX_IPC_OVERHEAD_MS, MAX_IPC_OVERHEAD_SHARE * near), max(0.0, min(self.baseline_ipc_ms) - near)
        )
