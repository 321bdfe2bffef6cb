"""The kinds of jobs, and the records that they are asked with and answer with. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gate.records import (
    Case,
    Correctness,
    Environment,
    KernelResources,
    Record,
    Replicate,
    Status,
    Trace,
    Workload,
)
from gate.sandbox.job import JobKind
from gate.settings.model import Tolerance


@dataclass(frozen=True, slots=True)
class EnvironmentRequest(Record):
    """Which device to describe."""

    device: str


@dataclass(frozen=True, slots=True)
class CompileRequest(Record):
    """What to compile, and the folder to do it in. Paths that are not absolute begin in the candidate's folder."""

    name: str
    language: Literal["c++", "cuda"]
    folder: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    system_include: tuple[str, ...]
    """Where headers are searched behind those."""
    architectures: tuple[str, ...]
    nvcc: str | None
    """The CUDA compiler's path; None for C++."""
    flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    directory: str


@dataclass(frozen=True, slots=True)
class Dependencies(Record):
    """What compilers and linker read, and where they searched; from the candidate's folder, or absolute."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompileAnswer(Record):
    """The library's path, or what went wrong in the compiler's words, and how long it took."""

    library: str | None
    message: str = ""
    log: str = ""
    resources: tuple[KernelResources, ...] = ()
    dependencies: Dependencies = Dependencies()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ToolRequest(Record):
    """A profiler or a sanitizer with the program that it is to watch, and variables beside the server's own."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    candidate: str | None = None
    """What the program runs, where that is a candidate."""


@dataclass(frozen=True, slots=True)
class ToolAnswer(Record):
    """The exit code, the end of what both printed, and how long it took."""

    code: int
    output: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckRequest(Record):
    """One case to check a candidate on."""

    device: str
    case: Case
    impl: str
    candidate: str | None
    tolerance: Tolerance
    seed: int
    budget_s: float | None = None
    """How long the check may take; it ends early where that will not be enough."""


@dataclass(frozen=True, slots=True)
class Called(Record):
    """How a first call ended."""

    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class TraceRequest(Record):
    """Which implementations to trace on one workload."""

    device: str
    workload: Workload
    implementations: tuple[str, ...]
    candidate: str | None = None


@dataclass(frozen=True, slots=True)
class TraceAnswer(Record):
    """One trace an implementation, in the order asked."""

    traces: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class ReplicateRequest(Record):
    """What a replicate is to time. `arms` maps each arm to what plays it, in the trial's order."""

    device: str
    workload: Workload
    arms: Mapping[str, str]
    candidate: str | None
    """The candidate's library or Python file."""
    seed: int
    rounds: int
    warmup_rounds: int
    tolerance: Tolerance
    sdpa_max_abs_err: float | None
    """SDPA's own error, from the check; None where no candidate is timed."""
    uncaptured: tuple[str, ...] = ()
    """Arms that are launched directly, because they cannot be captured."""
    budget_s: float | None = None
    """How long the rounds may take; None where it is known that they fit."""
    call_ms: float | None = None
    """The candidate's shortest call in its check."""

    @property
    def all_rounds(self) -> int:
        """With those of the warm-up."""
        return self.warmup_rounds + self.rounds


@dataclass(frozen=True, slots=True)
class Pace(Record):
    """How long the rounds of a replicate take, in seconds: the first with all that is done once, and any other."""

    first_s: float
    round_s: float

    def seconds(self, rounds: int) -> float:
        """What so many rounds take, the warm-up's among them."""
        return self.first_s + (rounds - 1) * self.round_s

    def rounds_in(self, seconds: float) -> int:
        """How many rounds end within `seconds`; 2 at least, for so many were run to see the pace."""
        return max(2, 1 + int((seconds - self.first_s) / max(self.round_s, 1e-9)))


@dataclass(frozen=True, slots=True)
class ReplicateAnswer(Record):
    """A replicate, or why there is none."""

    status: Status
    message: str = ""
    replicate: Replicate | None = None
    uncapturable: str | None = None
    """The arm that could not be captured: the attempt is to be made again with that arm launched directly."""
    pace: Pace | None = None
    """Its rounds do not fit `budget_s`: the attempt is to be made again with as many as fit."""

    def __post_init__(self) -> None:
        if (self.replicate is not None) != (self.status is Status.OK):
            raise ValueError("an attempt has a replicate exactly where it is ok")


ENVIRONMENT = JobKind("environment", EnvironmentRequest, Environment, "the device's process", trusted=True)
COMPILE = JobKind("compile", CompileRequest, CompileAnswer, "the build", folder_field="directory")
TOOL = JobKind("tool", ToolRequest, ToolAnswer, "the tool", confined=False)
FIRST_CALL = JobKind("first_call", CheckRequest, Called)
CHECK = JobKind("check", CheckRequest, Correctness)
TRACE = JobKind("trace", TraceRequest, TraceAnswer)
REPLICATE = JobKind("replicate", ReplicateRequest, ReplicateAnswer)
