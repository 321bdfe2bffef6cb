"""The hidden last line of a comment: its suite, and the commit and run that wrote it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gate.errors import BadInputError
from gate.github.context import GithubContext
from gate.records import Outcome

_SUITE = re.compile(r"[A-Za-z0-9_.@+]+(?:-[A-Za-z0-9_.@+]+)*")
MAX_SUITE = 100
_FORM = re.compile(
    r"<!-- kernel-gate suite=(?P<suite>\S+) sha=(?P<sha>[0-9a-f]+) run=(?P<run_id>\d{1,18}) "
    r"number=(?P<number>\d{1,18}) attempt=(?P<attempt>\d{1,18}) outcome=(?P<outcome>[a-z]+) -->"
)


@dataclass(frozen=True, slots=True)
class Marker:
    """Suite, commit, run and outcome of a comment."""

    suite: str
    sha: str
    run_id: int
    number: int
    attempt: int
    outcome: Outcome

    def __post_init__(self) -> None:
        if not _SUITE.fullmatch(self.suite) or len(self.suite) > MAX_SUITE:
            raise BadInputError(f"a suite has the form wmma@l4, not '{self.suite}'; fix --suite")

    @property
    def age(self) -> tuple[int, int]:
        """Sort key: later runs, and later attempts of one run, are greater."""
        return self.number, self.attempt

    def __str__(self) -> str:
        return (
            f"<!-- kernel-gate suite={self.suite} sha={self.sha} run={self.run_id} "
            f"number={self.number} attempt={self.attempt} outcome={self.outcome} -->"
        )


def marker_for(context: GithubContext, suite: str, outcome: Outcome) -> Marker:
    """The marker of this run's comment. Raises BadInputError for a malformed suite."""
    return Marker(suite, context.sha, context.run_id, context.run_number, context.attempt, outcome)


def parse(body: str) -> Marker | None:
    """The marker in the last line, or None. Other lines are ignored: a candidate can forge them."""
    found = _FORM.fullmatch(body.rstrip().rpartition("\n")[2])
    if found is None or found["outcome"] not in list(Outcome) or not _SUITE.fullmatch(found["suite"]):
        return None
    run_id, number, attempt = (int(found[name]) for name in ("run_id", "number", "attempt"))
    return Marker(found["suite"], found["sha"], run_id, number, attempt, Outcome(found["outcome"]))
