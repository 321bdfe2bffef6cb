"""What the parent asks of the two processes, and what they say to one another: no torch here."""

from __future__ import annotations

from dataclasses import dataclass

from gate.records import Record, Status, Witness, Workload


@dataclass(frozen=True, slots=True)
class Bout(Record):
    """One workload: `launches` calls in a row, each with inputs and an output of its own.

    At most so many; the referee takes as many as last for `batch_ms`, by its own clock, when the baseline makes them.
    """

    workload: Workload
    baseline: str
    launches: int
    batch_ms: float
    direct: bool
    """Whether the candidate cannot be captured in a graph."""


@dataclass(frozen=True, slots=True)
class Refereeing(Record):
    """The witness's task. `folder` is where the two meet, and where memory is shared on a CPU."""

    device: str
    folder: str
    rounds: int
    bouts: tuple[Bout, ...]


@dataclass(frozen=True, slots=True)
class Playing(Record):
    """The candidate's task: to do what the referee says."""

    device: str
    folder: str
    impl: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Witnesses(Record):
    """One for each bout, in order."""

    witnesses: tuple[Witness, ...]


@dataclass(frozen=True, slots=True)
class Played(Record):
    """How the candidate's process saw it; believed only where it says that it failed."""

    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class Shared(Record):
    """Referee to player, once: where the memory of all bouts is."""

    handle: str
    size: int


@dataclass(frozen=True, slots=True)
class Start(Record):
    """Referee to player: what to get ready for."""

    bout: Bout


@dataclass(frozen=True, slots=True)
class Reply(Record):
    """Player to referee. `word` is `ready`, `done`, `here` or `failed`, and `message` says why."""

    word: str
    message: str = ""
