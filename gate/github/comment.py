"""Posts the comment of a verdict to a pull request, or withdraws an earlier comment."""

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
NO_PULL_REQUEST = Delivery("kept", "this run has no pull request to comment on")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence files of a comment, and the candidate and device that they must contain (see `judge_admitted`)."""

    cand: Path
    base: Path | None = None
    """The merge base's measurement, if the file exists."""
    impl: str | None = None
    device: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A comment: its suite, its outcome, and its text as a function of the largest number of characters."""

    suite: str
    outcome: Outcome
    text: Body


def message_of(evidence: Evidence, settings: Settings, links: Links, suite: str | None) -> Message:
    """Recomputes the verdict; without `suite`, the suite is CANDIDATE@DEVICE.

    Raises BadInputError if the evidence is refused.
    """
    measurement = measurement_of(load_evidence(evidence.cand))
    subject = (evidence.impl, evidence.device, evidence.required)
    run = judge_admitted(measurement, evidence.cand, settings, *subject)
    around = _surroundings(run, evidence.base, settings.gates, links)
    name = suite or f"{measurement.impl}@{measurement.environment.device}"
    return Message(name, run.verdict.outcome, lambda most: markdown(run, around, most=most))


def message_or_nothing(evidence: Evidence, settings: Settings, links: Links, suite: str | None) -> Message:
    """The verdict's message; if the evidence is missing, refused or makes the judge fail: "no verdict".

    An older verdict must never look like the verdict on this commit; therefore every exception is caught.
    """
    try:
        message = message_of(evidence, settings, links, suite)
        message.text(MAX_COMMENT)
    except Exception as error:
        click.echo(f"no verdict: {type(error).__name__}; see the log of the job `gate`", err=True)
        return _message_of_nothing(links, suite)
    return message


def _message_of_nothing(links: Links, suite: str | None) -> Message:
    if not suite:
        raise BadInputError("without a verdict the comment's suite is unknown; name it with --suite")
    return Message(suite, Outcome.ENVIRONMENT, lambda _: no_verdict(Surroundings(links=links)))


def _surroundings(run: Run, base: Path | None, policy: Policy, links: Links) -> Surroundings:
    """Ratios to the merge base; empty if its file does not exist, a warning if it cannot be compared."""
    if base is None or not base.exists():
        return Surroundings(links=links)
    try:
        compared = changes(run.measurement, _comparable(measurement_of(load_evidence(base)), run), policy)
    except Exception as error:  # a runner that ran the candidate wrote that file, and the verdict does not rest on it
        reason = str(error) if isinstance(error, GateError) else type(error).__name__
        return Surroundings(links=links, warnings=(f"no comparison with the merge base: {reason}",))
    return Surroundings(_ratios(compared), links, tuple(_regressions(compared)))


def _comparable(base: Measurement, run: Run) -> Measurement:
    if base.impl != run.measurement.impl:
        raise BadInputError(
            f"its measurement is of {base.impl}, not of {run.measurement.impl}; measure the same candidate"
        )
    return base


def _ratios(compared: tuple[Change, ...]) -> dict[Workload, Estimate]:
    return {change.workload: change.ratio for change in compared if change.ratio is not None}


def _regressions(compared: tuple[Change, ...]) -> list[str]:
    slower = [change for change in compared if change.answer is Answer.REGRESSED]
    return [
        f"{change.workload}: slower than the merge base: {change.subject}: {change.evidence}" for change in slower
    ]


def post(message: Message, context: GithubContext, author: str) -> Delivery:
    """Writes the comment on the context's pull request; a refusal by GitHub is also a Delivery."""
    marker = marker_for(context, message.suite, message.outcome)
    return _on_pull(context, lambda pull: sticky.deliver(pull, marker, message.text, author))


def withdraw(context: GithubContext, judged_now: Collection[str], reason: str, author: str) -> Delivery:
    """Marks all suites' comments, except those of `judged_now`, as not of this commit."""
    text = no_verdict(Surroundings(links=context.links), reason)
    return _on_pull(context, lambda pull: sticky.withdraw_comment(pull, context, judged_now, lambda _: text, author))


def _on_pull(context: GithubContext, act: Callable[[PullRequest], Delivery]) -> Delivery:
    if context.pr is None:
        return NO_PULL_REQUEST
    try:
        with named_refusals(f"read pull request {context.pr}"), connect(context.api_url) as github:
            return act(github.get_repo(context.repository).get_pull(context.pr))
    except RefusedError as error:
        return Delivery("refused", str(error))
