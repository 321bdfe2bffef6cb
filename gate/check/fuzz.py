"""Correctness over many cases, and from one that fails to the smallest that does.

Cases share processes; every step of shrinking, and every failure that is played again, has a process of its own.
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
from gate.records import EXIT_CODES, SCHEMA_VERSION, Build, Case, Correctness, Dtype, Environment, Record, Status
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
"""The most that one step of shrinking may take."""
MAX_PROBES = 40
"""About as many steps as shrinking takes: for the progress alone."""


@dataclass(frozen=True, slots=True)
class CheckedCase(Record):
    """One case, the seed of its inputs, and what came of it."""

    case: Case
    seed: int
    correctness: Correctness

    @property
    def failed(self) -> bool:
        """Whether this speaks against the candidate."""
        return self.correctness.status not in (Status.OK, Status.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class FuzzFailure(Record):
    """A failure that can be played again: `shrunk` is the smallest case found that fails as `first` did."""

    impl: str
    config: str
    device: str
    first: CheckedCase
    shrunk: CheckedCase
    again: bool
    """Whether it failed again in a process of its own, with the same seed."""
    probes: int
    kind: Literal["fuzz_failure"] = "fuzz_failure"
    schema_version: Literal[1] = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class FuzzReport(Record):
    """What `fuzz` saw; `results` are absent where there was no build."""

    environment: Environment
    impl: str
    build: Build
    results: tuple[CheckedCase, ...] = ()
    failure: FuzzFailure | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["fuzz"] = "fuzz"
    schema_version: Literal[1] = SCHEMA_VERSION

    @property
    def exit_code(self) -> int:
        """0 where something was checked and all of it passed; 1 a wrong answer; 3 no build, or no answer."""
        if self.build.status is not Status.OK:
            return EXIT_CODES[OUTCOMES[self.build.status]]
        statuses = {each.correctness.status for each in self.results} - {Status.UNSUPPORTED}
        if statuses == {Status.OK}:
            return PASSED
        return FAULTED if statuses & set(FAULTS) and not statuses & {Status.INCORRECT} else FAILED


def choose_cases(
    matrices: Mapping[str, FuzzMatrix], device: str, dtypes: Sequence[Dtype], *, full: bool, extended: bool
) -> tuple[Case, ...]:
    """The device's matrix in the first dtype, and with `extended` those for rarer things in all of them."""
    base = matrices["full" if full or device == "cuda" else "small"].cases(dtypes[0])
    added = [case for name in EXTENDED for dtype in dtypes for case in matrices[name].cases(dtype)]
    return tuple(dict.fromkeys([*base, *added] if extended else base))


def fuzz(session: Session, candidate: Candidate, cases: Sequence[Case]) -> FuzzReport:
    """Checks a candidate on each case, and shrinks one failure; times nothing."""
    report = check_all(session, candidate, {each: secrets.randbits(62) for each in cases})
    failed = [each for each in report.results if each.failed]
    failure = None
    if failed:
        failure = _failure(session, candidate, source_of(candidate, report.build), min(failed, key=_ease))
    return replace(report, build=report.build.as_evidence(), failure=failure, seconds=dict(session.seconds))


def check_all(session: Session, candidate: Candidate, cases: Mapping[Case, int]) -> FuzzReport:
    """Checks a candidate on each case, with inputs from its seed."""
    environment, built = prepare_candidate(session, candidate)
    results: tuple[CheckedCase, ...] = ()
    if built.status is Status.OK:
        seen = check_cases(session, candidate, source_of(candidate, built), cases)
        results = tuple(CheckedCase(*asked, answer) for asked, answer in zip(cases.items(), seen, strict=True))
    return FuzzReport(environment, candidate.name, built, results, seconds=dict(session.seconds))


def fuzz_backend(session: Session, backend: str, cases: Sequence[Case]) -> FuzzReport:
    """One of SDPA's backends on each case: whether this environment computes as it should."""
    environment, name = environment_of(session), PREFIX + session.backends(backend)[0]
    asked, results = {each: secrets.randbits(62) for each in cases}, []
    for first in range(0, len(cases), CHECKS_A_PROCESS):
        session.progress(f"check {name}", first, len(cases))
        group = dict(list(asked.items())[first : first + CHECKS_A_PROCESS])
        seen = check_backend(session.server, name.removeprefix(PREFIX), group, session.device, session.settings)
        results += [CheckedCase(*pair, answer) for pair, answer in zip(group.items(), seen, strict=True)]
    return FuzzReport(environment, name, Build(name, Status.OK), tuple(results), seconds=dict(session.seconds))


def replay_failure(session: Session, candidate: Candidate, failure: FuzzFailure) -> FuzzReport:
    """A failure's smallest case once more, by the candidate that failed or by another."""
    report = check_all(session, candidate, {failure.shrunk.case: failure.shrunk.seed})
    seen = next((each for each in report.results if each.failed), None)
    config = to_text(candidate.config)
    shown = replace(failure, impl=candidate.name, config=config, shrunk=seen) if seen else None
    return replace(report, build=report.build.as_evidence(), failure=shown)


def load_failure(path: Path) -> FuzzFailure:
    """What `fuzz` wrote when it failed. Raises BadInputError."""
    try:
        return from_json(FuzzFailure, read_given(path, f"the {REPLAY} that `fuzz` wrote").decode(), str(path))
    except (UnicodeDecodeError, MalformedFileError) as error:
        raise BadInputError(f"{path} is no {REPLAY}, as `fuzz` writes where it fails; name one") from error


def save_failure(failure: FuzzFailure, out: Path | None) -> Path:
    """Writes what `load_failure` reads, beside `out` or here. Raises UnwritableOutputError."""
    path = (out or Path(REPLAY)).with_name(REPLAY)
    write_record(path, failure)
    return path


def _ease(each: CheckedCase) -> tuple[bool, int]:
    """Wrong answers come before faults, for they tell where; then whatever takes least."""
    return each.correctness.status is not Status.INCORRECT, each.case.workload.flops


def _failure(session: Session, candidate: Candidate, source: str, first: CheckedCase) -> FuzzFailure:
    """Every probe has the failure's own seed, and a process of its own."""
    limits = session.settings.limits
    limits = replace(limits, check_s=min(PROBE_S, limits.check_s), build_s=min(PROBE_S, limits.build_s))
    quiet = replace(session, settings=replace(session.settings, limits=limits), progress=lambda *_: None)
    failing = {first.case: first}
    probes = 0

    def fails(case: Case) -> bool:
        """Whether the same thing goes wrong there."""
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
