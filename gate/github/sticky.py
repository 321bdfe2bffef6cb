"""The one comment of a suite on a pull request: found by marker and author, edited in place, never set back.

What stays of an earlier commit is withdrawn where the head is not judged: people read the comment, not its date.

GitHub knows no transaction: two runs may write at once, and a write that was retried may have happened twice. So
after a comment is written new, all are listed again; of several the latest run's stays, and of one run's the oldest.
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
"""The comment's text, in at most so many characters."""
SHORTER = MAX_COMMENT // 4
"""Characters to try after GitHub has refused a longer text."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the comment, and where it is. `kept` and `refused` say why nothing was written."""

    done: Done
    said: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class _Known:
    """A comment of ours."""

    comment: IssueComment
    marker: Marker


def deliver(pull: PullRequest, marker: Marker, text: Body, author: str = AUTHOR) -> Delivery:
    """Writes the comment, or says why not. Raises RefusedError."""
    return _too_late(pull, marker.sha) or _deliver(pull, marker, _marked(text, marker), author)


def withdraw_comment(
    pull: PullRequest, place: GithubContext, judged: Collection[str], text: Body, author: str = AUTHOR
) -> Delivery:
    """Edits every suite's comment on an earlier commit, but those of the suites that are judged now; writes none new.

    Raises RefusedError.
    """
    return _too_late(pull, place.sha) or _withdraw(pull, place, judged, text, author)


def _withdraw(pull: PullRequest, place: GithubContext, judged: Collection[str], text: Body, author: str) -> Delivery:
    latest = {comment.marker.suite: comment for comment in _ours(pull, author)}
    withdrawn = []
    for suite, old in latest.items():
        marker = marker_for(place, suite, Outcome.ENVIRONMENT)
        if suite not in judged and old.marker.sha != place.sha and old.marker.age <= marker.age:
            with named_refusals("edit the comment"):
                _unless_gone(partial(old.comment.edit, _marked(text, marker)(MAX_COMMENT)))
            withdrawn.append(suite)
    if not withdrawn:
        return Delivery("kept", "there is no verdict on an earlier commit")
    return Delivery("edited", f"not of this commit: {', '.join(withdrawn)}")


def _marked(text: Body, marker: Marker) -> Body:
    """The text, and in its last line the marker."""
    last = f"\n{marker}\n"
    return lambda most: text(most - len(last)) + last


def _deliver(pull: PullRequest, marker: Marker, body: Body, author: str) -> Delivery:
    known = _known(pull, marker.suite, author)
    if not known:
        return _create(pull, marker, body, author, known)
    latest = known[-1]
    if latest.marker.age > marker.age:
        newer = f"run {latest.marker.number} is newer and has written already"
        return Delivery("kept", newer, latest.comment.html_url)
    if latest.marker.outcome is Outcome.PASS and marker.outcome is not Outcome.PASS:
        return _replace(pull, marker, body, author, known)
    return _edit(pull, marker, body, author, known)


def _too_late(pull: PullRequest, sha: str) -> Delivery | None:
    """Why the pull request no longer wants what is said of this commit; None where it does."""
    with named_refusals("read the pull request"):
        if pull.state != "open":
            return Delivery("kept", f"pull request {pull.number} is {'merged' if pull.merged else pull.state}")
        if pull.head.sha != sha:
            at = f"the pull request is at {pull.head.sha[:12]} now, and this verdict is on {sha[:12]}"
            return Delivery("kept", at)
    return None


def _known(pull: PullRequest, suite: str, author: str) -> list[_Known]:
    return [comment for comment in _ours(pull, author) if comment.marker.suite == suite]


def _ours(pull: PullRequest, author: str) -> list[_Known]:
    """All suites' comments by this author, over all pages; the latest last, and of one run the oldest last."""
    with named_refusals("list the pull request's comments"):
        theirs = [
            comment
            for comment in pull.get_issue_comments()
            if comment.user is not None and comment.user.login == author
        ]
    marked = ((comment, parse(comment.body or "")) for comment in theirs)
    ours = [_Known(each, marker) for each, marker in marked if marker is not None]
    return sorted(ours, key=lambda each: (each.marker.age, -each.comment.id))


def _create(pull: PullRequest, marker: Marker, body: Body, author: str, known: Sequence[_Known]) -> Delivery:
    with named_refusals("write the comment"):
        ours = _write(pull.create_issue_comment, body)
        wrote: str = ours.user.login
    kept = _settle(pull, marker, wrote, known)
    other = "" if wrote == author else f"; it is by {wrote}, so name that with --author for the next run to find it"
    return Delivery("created", f"comment written{other}", kept or ours.html_url)


def _settle(pull: PullRequest, marker: Marker, author: str, known: Sequence[_Known]) -> str:
    """Of the comments that are new since `known`, the latest stays, and the oldest of one run. Returns its URL."""
    before = {entry.comment.id for entry in known}
    new = [entry.comment for entry in _known(pull, marker.suite, author) if entry.comment.id not in before]
    for double in new[:-1]:
        with named_refusals("delete a comment that was written twice"):
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
    """A pass that fails now is written anew, so that people are told; the old comment is folded away."""
    written = _create(pull, marker, body, author, known)
    folded = "is folded"
    try:
        with named_refusals("fold the comment that passed"):
            known[-1].comment.minimize("OUTDATED")
    except RefusedError as error:
        folded = f"still shows: {error}"
    return Delivery("replaced", f"{written.said}; the older one, which passed, {folded}", written.url)


def _write(write: Callable[[str], T], body: Body) -> T:
    """Writes, and writes shorter where GitHub refuses the content. Raises what PyGithub raises."""
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
    """Deletes or edits what may be deleted already: by a retried request, or by people."""
    from github import UnknownObjectException

    with suppress(UnknownObjectException):
        act()
