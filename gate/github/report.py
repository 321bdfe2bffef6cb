"""From a file and a place on GitHub to the comment, the annotations and the summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gate.errors import BadInputError
from gate.files import load, measurement_of
from gate.github.client import RefusedError, connect, named_refusals
from gate.github.marker import marker_for
from gate.github.place import Place
from gate.github.sticky import Body, Delivery, deliver
from gate.judge import judge
from gate.markdown import Surroundings, markdown, no_verdict
from gate.records import Estimate, Measurement, Outcome, Policy, Run, Workload
from gate.regression import Answer, Change, changes

Links = tuple[tuple[str, str], ...]
NO_PULL_REQUEST = Delivery("kept", "there is no pull request to write on")


def read_run(path: Path, policy: Policy) -> Run:
    """The run in a file, judged anew, so that no word in it is anybody else's. Raises BadInputError.

    A run keeps the policy it was judged by; a measurement is judged by `policy`.
    """
    record = load(path)
    return judge(measurement_of(record), record.policy if isinstance(record, Run) else policy)


def surroundings(run: Run, base: Path | None, policy: Policy, links: Links = ()) -> Surroundings:
    """The merge base beside the run. None where there is no such file; one that cannot be compared is a warning."""
    if base is None or not base.exists():
        return Surroundings(links=links)
    try:
        seen = changes(run.measurement, _comparable(load_measurement(base), run), policy)
    except BadInputError as error:
        return Surroundings(links=links, warnings=(f"no merge base to compare with: {error}",))
    return Surroundings(_ratios(seen), links, tuple(_regressions(seen)))


def load_measurement(path: Path) -> Measurement:
    """The evidence in a file. Raises BadInputError."""
    return measurement_of(load(path))


def _comparable(base: Measurement, run: Run) -> Measurement:
    if base.impl != run.measurement.impl:
        raise BadInputError(f"it measured {base.impl}, not {run.measurement.impl}; measure the same candidate")
    return base


def _ratios(seen: tuple[Change, ...]) -> dict[Workload, Estimate]:
    return {change.workload: change.ratio for change in seen if change.ratio is not None}


def _regressions(seen: tuple[Change, ...]) -> list[str]:
    slower = [each for each in seen if each.answer is Answer.REGRESSED]
    return [f"{each.workload}: slower than the merge base: {each.subject}: {each.evidence}" for each in slower]


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said: on what, with which outcome, and the text in at most so many characters."""

    suite: str
    outcome: Outcome
    text: Body


def message_of(run: Run, around: Surroundings, suite: str | None) -> Message:
    """The message of a run; its suite is the candidate and what it ran on, where none is named."""
    named = suite or f"{run.measurement.impl}@{run.measurement.environment.device}"
    return Message(named, run.verdict.outcome, lambda most: markdown(run, around, most=most))


def message_of_nothing(links: Links, suite: str | None) -> Message:
    """What is said where there is no run to read: an older verdict must not stand as if it were of this commit."""
    if not suite:
        raise BadInputError("there is no run, so nothing says which comment is meant; name it with --suite")
    return Message(suite, Outcome.ENVIRONMENT, lambda _: no_verdict(Surroundings(links=links)))


def post(message: Message, place: Place, author: str) -> Delivery:
    """The comment on the place's pull request; what GitHub refuses is a Delivery too."""
    marker = marker_for(place, message.suite, message.outcome)
    if place.pr is None:
        return NO_PULL_REQUEST

    def body(most: int) -> str:
        last = f"\n{marker}\n"
        return message.text(most - len(last)) + last

    try:
        with named_refusals(f"read pull request {place.pr}"), connect(place.api_url) as github:
            return deliver(github.get_repo(place.repository).get_pull(place.pr), marker, body, author)
    except RefusedError as error:
        return Delivery("refused", str(error))
