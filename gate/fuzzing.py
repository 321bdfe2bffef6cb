"""Correctness over many cases, and from one that fails to the smallest that does.

Cases share processes; every step of shrinking, and every failure that is played again, has a process of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gate.asking import FAULTS, check_backend
from gate.errors import BadInputError, MalformedFileError
from gate.files import from_json, write_record
from gate.given_file import read_given
from gate.outcomes import OUTCOMES
from gate.pipeline import CHECKS_A_PROCESS, Bench, check_cases, describe, prepare, source_of
from gate.records import (
    EXIT_CODES,
    SCHEMA_VERSION,
    Build,
    Case,
    Correctness,
    Dtype,
    Environment,
    Record,
    Status,
)
from gate.registry import Candidate
from gate.sdpa import PREFIX
from gate.settings import FuzzMatrix
from gate.shrinking import shrink
from gate.tunables import to_text

REPLAY = "fuzz-failure.json"
EXTENDED = ("lengths", "inputs", "layouts")
PASSED, FAILED, FAULTED = 0, 1, 3
PROBE_S = 20.0
"""The most that one step of shrinking may take."""
MOST_PROBES = 40
"""About as many steps as shrinking takes: for the progress alone."""


@dataclass(frozen=True, slots=True)
class Checked(Record):
    """One case, the seed of its inputs, and what came of it."""

    case: Case
    seed: int
    correctness: Correctness

    @property
    def failed(self) -> bool:
        """Whether this speaks against the candidate."""
        return self.correctness.status not in (Status.OK, Status.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Failure(Record):
    """A failure that can be played again: `shrunk` is the smallest case found that fails as `first` did."""

    impl: str
    config: str
    device: str
    first: Checked
    shrunk: Checked
    again: bool
    """Whether it failed again in a process of its own, with the same seed."""
    probes: int
    kind: Literal["fuzz_failure"] = "fuzz_failure"
    schema_version: Literal[1] = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Report(Record):
    """What `fuzz` saw; `results` are absent where there was no build."""

    environment: Environment
    impl: str
    build: Build
    results: tuple[Checked, ...] = ()
    failure: Failure | None = None
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


def fuzz(bench: Bench, candidate: Candidate, cases: Sequence[Case]) -> Report:
    """Checks a candidate on each case, and shrinks one failure; times nothing."""
    report = play(bench, candidate, {each: secrets.randbits(62) for each in cases})
    failed = [each for each in report.results if each.failed]
    failure = None
    if failed:
        failure = _failure(bench, candidate, source_of(candidate, report.build), min(failed, key=_ease))
    return replace(report, build=report.build.as_evidence(), failure=failure, seconds=dict(bench.seconds))


def play(bench: Bench, candidate: Candidate, cases: Mapping[Case, int]) -> Report:
    """Checks a candidate on each case, with inputs from its seed."""
    environment, built = prepare(bench, candidate)
    results: tuple[Checked, ...] = ()
    if built.status is Status.OK:
        seen = check_cases(bench, candidate, source_of(candidate, built), cases)
        results = tuple(Checked(*asked, answer) for asked, answer in zip(cases.items(), seen, strict=True))
    return Report(environment, candidate.name, built, results, seconds=dict(bench.seconds))


def fuzz_backend(bench: Bench, backend: str, cases: Sequence[Case]) -> Report:
    """One of SDPA's backends on each case: whether this environment computes as it should."""
    environment, name = describe(bench), PREFIX + bench.backends(backend)[0]
    asked, results = {each: secrets.randbits(62) for each in cases}, []
    for first in range(0, len(cases), CHECKS_A_PROCESS):
        bench.progress(f"check {name}", first, len(cases))
        group = dict(list(asked.items())[first : first + CHECKS_A_PROCESS])
        seen = check_backend(bench.server, name.removeprefix(PREFIX), group, bench.device, bench.settings)
        results += [Checked(*pair, answer) for pair, answer in zip(group.items(), seen, strict=True)]
    return Report(environment, name, Build(name, Status.OK), tuple(results), seconds=dict(bench.seconds))


def repeat(bench: Bench, candidate: Candidate, failure: Failure) -> Report:
    """A failure's smallest case once more, by the candidate that failed or by another."""
    report = play(bench, candidate, {failure.shrunk.case: failure.shrunk.seed})
    seen = next((each for each in report.results if each.failed), None)
    config = to_text(candidate.config)
    shown = replace(failure, impl=candidate.name, config=config, shrunk=seen) if seen else None
    return replace(report, build=report.build.as_evidence(), failure=shown)


def load_failure(path: Path) -> Failure:
    """What `fuzz` wrote when it failed. Raises BadInputError."""
    try:
        return from_json(Failure, read_given(path, f"the {REPLAY} that `fuzz` wrote").decode(), str(path))
    except (UnicodeDecodeError, MalformedFileError) as error:
        raise BadInputError(f"{path} is no {REPLAY}, as `fuzz` writes where it fails; name one") from error


def keep(failure: Failure, out: Path | None) -> Path:
    """Writes what `load_failure` reads, beside `out` or here. Raises UnwritableOutputError."""
    path = (out or Path(REPLAY)).with_name(REPLAY)
    write_record(path, failure)
    return path


def _ease(each: Checked) -> tuple[bool, int]:
    """Wrong answers come before faults, for they tell where; then whatever takes least."""
    return each.correctness.status is not Status.INCORRECT, each.case.workload.flops


def _failure(bench: Bench, candidate: Candidate, source: str, first: Checked) -> Failure:
    """Every probe has the failure's own seed, and a process of its own."""
    limits = bench.settings.limits
    limits = replace(limits, check_s=min(PROBE_S, limits.check_s), build_s=min(PROBE_S, limits.build_s))
    quiet = replace(bench, settings=replace(bench.settings, limits=limits), progress=lambda *_: None)
    failing = {first.case: first}
    probes = 0

    def fails(case: Case) -> bool:
        """Whether the same thing goes wrong there."""
        nonlocal probes
        if candidate.supports.refusal(case.workload):
            return False
        probes += 1
        bench.progress(f"shrink {first.case}: {case}", probes, MOST_PROBES)
        (seen,) = check_cases(quiet, candidate, source, {case: first.seed})
        if seen.status is first.correctness.status:
            failing[case] = Checked(case, first.seed, seen)
        return seen.status is first.correctness.status

    again = fails(first.case)
    smallest = shrink(first.case, fails, candidate.supports.head_dims) if again else first.case
    config = to_text(candidate.config)
    return Failure(candidate.name, config, bench.device, first, failing[smallest], again, probes)
