"""Messages between the parent and the two processes, and between these two. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records import Record, Status, Witness, Workload
from gate.sandbox.job import JobKind


@dataclass(frozen=True, slots=True)
class WitnessBatch(Record):
    """One workload: up to `launches` calls in a row, each with its own inputs and output.

    The trusted side chooses as many calls as take the baseline `batch_ms` by the trusted side's clock.
    """

    workload: Workload
    baseline: str
    launches: int
    batch_ms: float
    uncaptured: bool
    """Whether the candidate cannot be captured in a graph."""


@dataclass(frozen=True, slots=True)
class TrustedSideRequest(Record):
    """The witness's task. `folder` contains the socket, and on a CPU the shared memory."""

    device: str
    folder: str
    rounds: int
    witness_batches: tuple[WitnessBatch, ...]


@dataclass(frozen=True, slots=True)
class CandidateSideRequest(Record):
    """The candidate's task: to compute whenever the trusted side sends `go`."""

    device: str
    folder: str
    impl: str
    candidate: str


@dataclass(frozen=True, slots=True)
class TrustedSideAnswer(Record):
    """One for each batch, in order."""

    witnesses: tuple[Witness, ...]


@dataclass(frozen=True, slots=True)
class CandidateSideAnswer(Record):
    """The candidate side's own report; only a failure is believed."""

    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class Shared(Record):
    """Trusted side to candidate side, once: the handle of the memory of all batches."""

    handle: str
    size: int


@dataclass(frozen=True, slots=True)
class Start(Record):
    """Trusted side to candidate side: the next batch."""

    witness_batch: WitnessBatch


@dataclass(frozen=True, slots=True)
class Reply(Record):
    """Candidate side to trusted side. `word` is `ready`, `done`, `here` or `failed`; `message` is the reason."""

    word: str
    message: str = ""


TRUSTED_SIDE = JobKind(
    "trusted_side",
    TrustedSideRequest,
    TrustedSideAnswer,
    "the witness",
    trusted=True,
    concealed=True,
    folder_field="folder",
)
CANDIDATE_SIDE = JobKind("candidate_side", CandidateSideRequest, CandidateSideAnswer, folder_field="folder")
