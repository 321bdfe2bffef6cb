"""From files and a place on GitHub to the comment, or to the withdrawal of an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gate.errors import BadInputError, GateError
from gate.github import sticky
from gate.github.client import RefusedError, connect, named_refusals
from gate.github.context import GithubContext
from gate.github.marker import marker_for
from gate.github.sticky import Body, Delivery
from gate.records import Estimate, Measurement, Outcome, Policy, Run, Workload
from gate.report.markdown import MAX_COMMENT, Surroundings, markdown, no_verdict
from gate.settings.model import Settings
from gate.verdict.admission import judge_admitted
from gate.verdict.evidence_file import load_evidence, measurement_of
from gate.verdict.regression import Answer, Change, changes

if TYPE_CHECKING:
    from github.PullRequest import PullRequest

Links = tuple[tuple[str, str], ...]
NO_PULL_REQUEST = Delivery("kept", "there is no pull request to write on")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The files that a comment rests on, and what they must be of (see `judged`)."""

    cand: Path
    base: Path | None = None
    """The merge base's measurement, if that file is there."""
    impl: str | None = None
    device: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said: on what, with which outcome, and the text in at most so many characters."""

    suite: str
    outcome: Outcome
    text: Body


def message_of(evidence: Evidence, settings: Settings, links: Links, suite: str | None) -> Message:
    """The verdict, reached anew; the suite is the candidate and what it ran on, where none is named.

    Raises BadInputError where the evidence is refused.
    """
    measurement, asked = (
        measurement_of(load_evidence(evidence.cand)),
        (evidence.impl, evidence.device, evidence.required),
    )
    run = judge_admitted(measurement, evidence.cand, settings, *asked)
    around = _surroundings(run, evidence.base, settings.gates, links)
    subject = suite or f"{measurement.impl}@{measurement.environment.device}"
    return Message(subject, run.verdict.outcome, lambda most: markdown(run, around, most=most))


def message_or_nothing(evidence: Evidence, settings: Settings, links: Links, suite: str | None) -> Message:
    """The same; where the evidence is missing, refused or brings the judge down, that there is no verdict.

    An older verdict must not stand as if it were of this commit, whatever the evidence does.
    """
    try:
        message = message_of(evidence, settings, links, suite)
        message.text(MAX_COMMENT)
    except Exception as error:
        click.echo(f"no verdict: {type(error).__name__}; the job that judges says more", err=True)
        return _message_of_nothing(links, suite)
    return message


def _message_of_nothing(links: Links, suite: str | None) -> Message:
    if not suite:
        raise BadInputError("there is no verdict, so nothing says which comment is meant; name it with --suite")
    return Message(suite, Outcome.ENVIRONMENT, lambda _: no_verdict(Surroundings(links=links)))


def _surroundings(run: Run, base: Path | None, policy: Policy, links: Links) -> Surroundings:
    """The merge base beside the run. None where there is no such file; one that cannot be compared is a warning."""
    if base is None or not base.exists():
        return Surroundings(links=links)
    try:
        seen = changes(run.measurement, _comparable(measurement_of(load_evidence(base)), run), policy)
    except Exception as error:  # a runner that ran the candidate wrote that file, and the verdict does not rest on it
        why = str(error) if isinstance(error, GateError) else type(error).__name__
        return Surroundings(links=links, warnings=(f"no merge base to compare with: {why}",))
    return Surroundings(_ratios(seen), links, tuple(_regressions(seen)))


def _comparable(base: Measurement, run: Run) -> Measurement:
    if base.impl != run.measurement.impl:
        raise BadInputError(f"it measured {base.impl}, not {run.measurement.impl}; measure the same candidate")
    return base


def _ratios(seen: tuple[Change, ...]) -> dict[Workload, Estimate]:
    return {change.workload: change.ratio for change in seen if change.ratio is not None}


def _regressions(seen: tuple[Change, ...]) -> list[str]:
    slower = [change for change in seen if change.answer is Answer.REGRESSED]
    return [
        f"{change.workload}: slower than the merge base: {change.subject}: {change.evidence}" for change in slower
    ]


def post(message: Message, place: GithubContext, author: str) -> Delivery:
    """The comment on the place's pull request; what GitHub refuses is a Delivery too."""
    marker = marker_for(place, message.suite, message.outcome)
    return _on_pull(place, lambda pull: sticky.deliver(pull, marker, message.text, author))


def withdraw(place: GithubContext, judged_now: Collection[str], reason: str, author: str) -> Delivery:
    """Says on the suites' comments that they are not of this commit, but on those of `judged_now`."""
    text = no_verdict(Surroundings(links=place.links), reason)
    return _on_pull(place, lambda pull: sticky.withdraw_comment(pull, place, judged_now, lambda _: text, author))


def _on_pull(place: GithubContext, act: Callable[[PullRequest], Delivery]) -> Delivery:
    if place.pr is None:
        return NO_PULL_REQUEST
    try:
        with named_refusals(f"read pull request {place.pr}"), connect(place.api_url) as github:
            return act(github.get_repo(place.repository).get_pull(place.pr))
    except RefusedError as error:
        return Delivery("refused", str(error))
