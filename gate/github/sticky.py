"""The single comment of a suite on a pull request: found by marker and author, and edited in place.

An older run never overwrites a newer one. If the head commit is not judged, comments on older ones are withdrawn,
because readers do not compare dates.

GitHub has no transactions: two runs may write at once, and a retried write may happen twice. Therefore all comments
are listed again after a new one is written; the latest run's comment stays, and of one run the oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeVar

from gate.github.client import RefusedError, named_refusals
from gate.github.context import GithubContext
from gate.github.marker import Marker, marker_for, parse
from gate.records import Outcome
from gate.report.markdown import MAX_COMMENT

if TYPE_CHECKING:
    from github.IssueComment import IssueComment
    from github.PullRequest import PullRequest

T = TypeVar("T")
AUTHOR = "github-actions[bot]"
Done = Literal["created", "edited", "replaced", "kept", "refused"]
Body = Callable[[int], str]
"""The comment's text as a function of the largest number of characters."""
SHORTER = MAX_COMMENT // 4
"""Number of characters to try after GitHub refused a longer text."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of writing a comment, and its URL; `reason` says why a comment was `kept` or `refused`."""

    done: Done
    reason: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """A comment that Kernel Gate wrote."""

    comment: IssueComment
    marker: Marker


def deliver(pull: PullRequest, marker: Marker, text: Body, author: str = AUTHOR) -> Delivery:
    """Writes the comment, or returns the reason why not. Raises RefusedError."""
    return _outdated(pull, marker.sha) or _deliver(pull, marker, _marked(text, marker), author)


def withdraw_comment(
    pull: PullRequest, context: GithubContext, judged: Collection[str], text: Body, author: str = AUTHOR
) -> Delivery:
    """Edits the comments on earlier commits, except those of the suites in `judged`; writes no new comment.

    Raises RefusedError.
    """
    return _outdated(pull, context.sha) or _withdraw(pull, context, judged, text, author)


def _withdraw(
    pull: PullRequest, context: GithubContext, judged: Collection[str], text: Body, author: str
) -> Delivery:
    latest = {comment.marker.suite: comment for comment in _ours(pull, author)}
    withdrawn = []
    for suite, old in latest.items():
        marker = marker_for(context, suite, Outcome.ENVIRONMENT)
        if suite not in judged and old.marker.sha != context.sha and old.marker.age <= marker.age:
            with named_refusals("edit the comment"):
                _unless_gone(partial(old.comment.edit, _marked(text, marker)(MAX_COMMENT)))
            withdrawn.append(suite)
    if not withdrawn:
        return Delivery("kept", "no comment on an earlier commit to withdraw")
    return Delivery("edited", f"withdrawn, because not of this commit: {', '.join(withdrawn)}")


def _marked(text: Body, marker: Marker) -> Body:
    """The text with the marker as its last line."""
    last = f"\n{marker}\n"
    return lambda most: text(most - len(last)) + last


def _deliver(pull: PullRequest, marker: Marker, body: Body, author: str) -> Delivery:
    known = _known(pull, marker.suite, author)
    if not known:
        return _create(pull, marker, body, author, known)
    latest = known[-1]
    if latest.marker.age > marker.age:
        newer = f"run {latest.marker.number} is newer and has already commented"
        return Delivery("kept", newer, latest.comment.html_url)
    if latest.marker.outcome is Outcome.PASS and marker.outcome is not Outcome.PASS:
        return _replace(pull, marker, body, author, known)
    return _edit(pull, marker, body, author, known)


def _outdated(pull: PullRequest, sha: str) -> Delivery | None:
    """Why a comment on this commit is outdated: the pull request is closed or has a new head; None if it is not."""
    with named_refusals("read the pull request"):
        if pull.state != "open":
            return Delivery("kept", f"pull request {pull.number} is {'merged' if pull.merged else pull.state}")
        if pull.head.sha != sha:
            reason = f"the pull request is at {pull.head.sha[:12]} now, but this verdict is of {sha[:12]}"
            return Delivery("kept", reason)
    return None


def _known(pull: PullRequest, suite: str, author: str) -> list[_Known]:
    return [comment for comment in _ours(pull, author) if comment.marker.suite == suite]


def _ours(pull: PullRequest, author: str) -> list[_Known]:
    """The author's comments of all suites, oldest run first; of one run, the newest comment first."""
    with named_refusals("list the pull request's comments"):
        theirs = [
            comment
            for comment in pull.get_issue_comments()
            if comment.user is not None and comment.user.login == author
        ]
    marked = ((comment, parse(comment.body or "")) for comment in theirs)
    ours = [_Known(comment, marker) for comment, marker in marked if marker is not None]
    return sorted(ours, key=lambda entry: (entry.marker.age, -entry.comment.id))


def _create(pull: PullRequest, marker: Marker, body: Body, author: str, known: Sequence[_Known]) -> Delivery:
    with named_refusals("write the comment"):
        ours = _write(pull.create_issue_comment, body)
        actual_author: str = ours.user.login
    kept = _remove_duplicates(pull, marker, actual_author, known)
    hint = "" if actual_author == author else f"; its author is {actual_author}: pass --author {actual_author}"
    return Delivery("created", f"comment written{hint}", kept or ours.html_url)


def _remove_duplicates(pull: PullRequest, marker: Marker, author: str, known: Sequence[_Known]) -> str:
    """Deletes all but one of the comments written since `known`: keeps the latest run's oldest. Returns its URL."""
    before = {entry.comment.id for entry in known}
    new = [entry.comment for entry in _known(pull, marker.suite, author) if entry.comment.id not in before]
    for double in new[:-1]:
        with named_refusals("delete a duplicate comment"):
            _unless_gone(double.delete)
    return new[-1].html_url if new else ""


def _edit(pull: PullRequest, marker: Marker, body: Body, author: str, known: Sequence[_Known]) -> Delivery:
    comment = known[-1].comment
    try:
        with named_refusals("edit the comment"):
            _write(comment.edit, body)
    except RefusedError as error:
        if error.status != HTTPStatus.NOT_FOUND:  # not found: deleted since it was listed
            raise
        return _create(pull, marker, body, author, known)
    return Delivery("edited", "comment edited in place", comment.html_url)


def _replace(pull: PullRequest, marker: Marker, body: Body, author: str, known: Sequence[_Known]) -> Delivery:
    """Writes a new comment if a passing suite fails now, because people are notified; folds the old one."""
    written = _create(pull, marker, body, author, known)
    old_state = "is folded"
    try:
        with named_refusals("fold the comment that passed"):
            known[-1].comment.minimize("OUTDATED")
    except RefusedError as error:
        old_state = f"could not be folded: {error}"
    return Delivery("replaced", f"{written.reason}; the older comment (pass) {old_state}", written.url)


def _write(write: Callable[[str], T], body: Body) -> T:
    """Writes the comment; if GitHub refuses the content, a shorter one. Raises PyGithub's exceptions."""
    from github import GithubException

    full = body(MAX_COMMENT)
    try:
        return write(full)
    except GithubException as error:
        shorter = body(SHORTER)
        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY or shorter == full:
            raise
        return write(shorter)


def _unless_gone(act: Callable[[], object]) -> None:
    """Ignores that the comment is already deleted, by a retried request or by people."""
    from github import UnknownObjectException

    with suppress(UnknownObjectException):
        act()
