"""Checks correctness on many cases, and shrinks a failing case.

Cases share processes; every shrinking step and every replay of a failure runs in a separate process.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gate.build.prepare import environment_of, prepare_candidate, source_of
from gate.candidates.registry import Candidate
from gate.candidates.tunables import to_text
from gate.check.request import CHECKS_A_PROCESS, check_backend, check_cases
from gate.check.shrink import shrink
from gate.errors import BadInputError, MalformedFileError
from gate.records import (
    EXIT_CODES,
    SCHEMA_VERSION,
    Build,
    Case,
    Correctness,
    Dtype,
    Environment,
    Record,
    SchemaVersion,
    Status,
)
from gate.records.codec import from_json
from gate.records.sdpa import PREFIX
from gate.records.verdict import OUTCOMES
from gate.sandbox.calls import FAULTS
from gate.session import Session
from gate.settings.model import FuzzMatrix
from gate.storage import read_given, write_record

REPLAY = "fuzz-failure.json"
EXTENDED = ("lengths", "inputs", "layouts")
PASSED, FAILED, FAULTED = 0, 1, 3
PROBE_S = 20.0
"""Time limit of one shrinking step."""
MAX_PROBES = 40
"""The usual number of shrinking steps, for the display of progress only."""


@dataclass(frozen=True, slots=True)
class CheckedCase(Record):
    """One case, the seed of its inputs, and its result."""

    case: Case
    seed: int
    correctness: Correctness

    @property
    def failed(self) -> bool:
        """Whether the candidate failed on this case."""
        return self.correctness.status not in (Status.OK, Status.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class FuzzFailure(Record):
    """A failure that can be replayed. `shrunk` is the smallest case found that fails with the status of `first`."""

    impl: str
    config: str
    device: str
    first: CheckedCase
    shrunk: CheckedCase
    reproduced: bool
    """Whether the case failed again in a separate process, with the same seed."""
    probes: int
    kind: Literal["fuzz_failure"] = "fuzz_failure"
    schema_version: SchemaVersion = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class FuzzReport(Record):
    """The results of `fuzz`; `results` is empty if the build failed."""

    environment: Environment
    impl: str
    build: Build
    results: tuple[CheckedCase, ...] = ()
    failure: FuzzFailure | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["fuzz"] = "fuzz"
    schema_version: SchemaVersion = SCHEMA_VERSION

    @property
    def exit_code(self) -> int:
        """0: at least one case was checked and all passed. 1: a wrong output. 3: no build, or no output."""
        if self.build.status is not Status.OK:
            return EXIT_CODES[OUTCOMES[self.build.status]]
        statuses = {each.correctness.status for each in self.results} - {Status.UNSUPPORTED}
        if statuses == {Status.OK}:
            return PASSED
        return FAULTED if statuses & set(FAULTS) and not statuses & {Status.INCORRECT} else FAILED


def choose_cases(
    matrices: Mapping[str, FuzzMatrix], device: str, dtypes: Sequence[Dtype], *, full: bool, extended: bool
) -> tuple[Case, ...]:
    """The device's matrix in the first dtype; with `extended`, also the matrices in EXTENDED, in all dtypes."""
    base = matrices["full" if full or device == "cuda" else "small"].cases(dtypes[0])
    added = [case for name in EXTENDED for dtype in dtypes for case in matrices[name].cases(dtype)]
    return tuple(dict.fromkeys([*base, *added] if extended else base))


def fuzz(session: Session, candidate: Candidate, cases: Sequence[Case]) -> FuzzReport:
    """Checks a candidate on every case, and shrinks one failure; times nothing."""
    report = check_all(session, candidate, {each: secrets.randbits(62) for each in cases})
    failed = [each for each in report.results if each.failed]
    failure = None
    if failed:
        failure = _failure(session, candidate, source_of(candidate, report.build), min(failed, key=_ease))
    return replace(report, build=report.build.as_evidence(), failure=failure, seconds=dict(session.seconds))


def check_all(session: Session, candidate: Candidate, cases: Mapping[Case, int]) -> FuzzReport:
    """Checks a candidate on every case, with inputs from its seed."""
    environment, built = prepare_candidate(session, candidate)
    results: tuple[CheckedCase, ...] = ()
    if built.status is Status.OK:
        seen = check_cases(session, candidate, source_of(candidate, built), cases)
        results = tuple(CheckedCase(*asked, answer) for asked, answer in zip(cases.items(), seen, strict=True))
    return FuzzReport(environment, candidate.name, built, results, seconds=dict(session.seconds))


def fuzz_backend(session: Session, backend: str, cases: Sequence[Case]) -> FuzzReport:
    """Checks one of SDPA's backends on every case: whether this environment computes correctly."""
    environment, name = environment_of(session), PREFIX + session.backends(backend)[0]
    asked, results = {each: secrets.randbits(62) for each in cases}, []
    for first in range(0, len(cases), CHECKS_A_PROCESS):
        session.progress(f"check {name}", first, len(cases))
        group = dict(list(asked.items())[first : first + CHECKS_A_PROCESS])
        seen = check_backend(session.server, name.removeprefix(PREFIX), group, session.device, session.settings)
        results += [CheckedCase(*pair, answer) for pair, answer in zip(group.items(), seen, strict=True)]
    return FuzzReport(environment, name, Build(name, Status.OK), tuple(results), seconds=dict(session.seconds))


def replay_failure(session: Session, candidate: Candidate, failure: FuzzFailure) -> FuzzReport:
    """Runs a failure's smallest case again, with the candidate that failed or with another."""
    report = check_all(session, candidate, {failure.shrunk.case: failure.shrunk.seed})
    seen = next((each for each in report.results if each.failed), None)
    config = to_text(candidate.config)
    shown = replace(failure, impl=candidate.name, config=config, shrunk=seen) if seen else None
    return replace(report, build=report.build.as_evidence(), failure=shown)


def load_failure(path: Path) -> FuzzFailure:
    """Reads the file that `fuzz` wrote after a failure. Raises BadInputError."""
    try:
        return from_json(FuzzFailure, read_given(path, f"the {REPLAY} that `fuzz` wrote").decode(), str(path))
    except (UnicodeDecodeError, MalformedFileError) as error:
        raise BadInputError(f"{path} is not a {REPLAY}; give the file that `fuzz` wrote after a failure") from error


def save_failure(failure: FuzzFailure, out: Path | None) -> Path:
    """Writes the file that `load_failure` reads, in the folder of `out` or in the current one.

    Raises UnwritableOutputError.
    """
    path = (out or Path(REPLAY)).with_name(REPLAY)
    write_record(path, failure)
    return path


def _ease(each: CheckedCase) -> tuple[bool, int]:
    """Wrong answers come before faults, for they tell where; then whatever takes least."""
    return each.correctness.status is not Status.INCORRECT, each.case.workload.flops


def _failure(session: Session, candidate: Candidate, source: str, first: CheckedCase) -> FuzzFailure:
    """Shrinks a failure. Every step has the failure's seed and a separate process."""
    limits = session.settings.limits
    limits = replace(limits, check_s=min(PROBE_S, limits.check_s), build_s=min(PROBE_S, limits.build_s))
    quiet = replace(session, settings=replace(session.settings, limits=limits), progress=lambda *_: None)
    failing = {first.case: first}
    probes = 0

    def fails(case: Case) -> bool:
        """Whether the case fails with the same status."""
        nonlocal probes
        if candidate.supports.refusal(case.workload):
            return False
        probes += 1
        session.progress(f"shrink {first.case}: {case}", probes, MAX_PROBES)
        (seen,) = check_cases(quiet, candidate, source, {case: first.seed})
        if seen.status is first.correctness.status:
            failing[case] = CheckedCase(case, first.seed, seen)
        return seen.status is first.correctness.status

    again = fails(first.case)
    smallest = shrink(first.case, fails, candidate.supports.head_dims) if again else first.case
    config = to_text(candidate.config)
    return FuzzFailure(candidate.name, config, session.device, first, failing[smallest], again, probes)
