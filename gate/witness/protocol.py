"""What the parent asks of the two processes, and what they say to one another: no torch here."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records import Record, Status, Witness, Workload
from gate.sandbox.job import JobKind


@dataclass(frozen=True, slots=True)
class WitnessBatch(Record):
    """One workload: `launches` calls in a row, each with inputs and an output of its own.

    At most so many; the trusted side takes as many as last for `batch_ms`, by its own clock, when the baseline makes
    them.
    """

    workload: Workload
    baseline: str
    launches: int
    batch_ms: float
    uncaptured: bool
    """Whether the candidate cannot be captured in a graph."""


@dataclass(frozen=True, slots=True)
class TrustedSideRequest(Record):
    """The witness's task. `folder` is where the two meet, and where memory is shared on a CPU."""

    device: str
    folder: str
    rounds: int
    witness_batches: tuple[WitnessBatch, ...]


@dataclass(frozen=True, slots=True)
class CandidateSideRequest(Record):
    """The candidate's task: to do what the trusted side says."""

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
    """How the candidate's process saw it; believed only where it says that it failed."""

    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class Shared(Record):
    """Referee to candidate's side, once: where the memory of all batches is."""

    handle: str
    size: int


@dataclass(frozen=True, slots=True)
class Start(Record):
    """Referee to candidate's side: what to get ready for."""

    witness_batch: WitnessBatch


@dataclass(frozen=True, slots=True)
class Reply(Record):
    """Player to trusted side. `word` is `ready`, `done`, `here` or `failed`, and `message` says why."""

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
