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
    """What to compile, and in which folder. Paths that are not absolute begin in the candidate's folder."""

    name: str
    language: Literal["c++", "cuda"]
    folder: str
    sources: tuple[str, ...]
    include: tuple[str, ...]
    system_include: tuple[str, ...]
    """Further folders of headers, which are searched after `include`."""
    architectures: tuple[str, ...]
    nvcc: str | None
    """The CUDA compiler's path; None for C++."""
    flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    directory: str


@dataclass(frozen=True, slots=True)
class Dependencies(Record):
    """Files that compilers and linker read, and folders that they searched; relative to the candidate's folder."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompileAnswer(Record):
    """The library's path, or the compiler's message, and how long it took."""

    library: str | None
    message: str = ""
    log: str = ""
    resources: tuple[KernelResources, ...] = ()
    dependencies: Dependencies = Dependencies()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ToolRequest(Record):
    """The command of a profiler or a sanitizer with its program, and variables beside the server's own."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    candidate: str | None = None
    """The file of the candidate that the program runs, if it runs one."""


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
    """How long the check may take; it ends early if it would take longer."""


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
    """One trace for each implementation, in the request's order."""

    traces: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class ReplicateRequest(Record):
    """The plan of one replicate. `arms` maps the name of each arm to its implementation, in the trial's order."""

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
    """SDPA's own error, from the check; None if no candidate is timed."""
    uncaptured: tuple[str, ...] = ()
    """Arms that are launched directly, because they cannot be captured."""
    budget_s: float | None = None
    """How long the rounds may take; None if they are known to fit."""
    call_ms: float | None = None
    """The candidate's shortest call in its check."""

    @property
    def all_rounds(self) -> int:
        """The number of rounds, the warm-up's included."""
        return self.warmup_rounds + self.rounds


@dataclass(frozen=True, slots=True)
class Pace(Record):
    """Seconds that the first round of a replicate takes, with all one-time work, and that any other round takes."""

    first_s: float
    round_s: float

    def seconds(self, rounds: int) -> float:
        """How long so many rounds take, the warm-up's included."""
        return self.first_s + (rounds - 1) * self.round_s

    def rounds_in(self, seconds: float) -> int:
        """How many rounds end within `seconds`; at least 2, because the pace was taken from so many."""
        return max(2, 1 + int((seconds - self.first_s) / max(self.round_s, 1e-9)))


@dataclass(frozen=True, slots=True)
class ReplicateAnswer(Record):
    """A replicate, or why there is none."""

    status: Status
    message: str = ""
    replicate: Replicate | None = None
    uncapturable: str | None = None
    """The arm that could not be captured in a graph; the next attempt launches it directly."""
    pace: Pace | None = None
    """Set if the rounds do not fit `budget_s`; the next attempt takes as many as fit."""

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
