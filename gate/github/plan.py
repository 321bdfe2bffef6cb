"""Plans from an event what is measured and where, and whether a pull request still needs a measurement.

Users can write every part of an event. Therefore numbers, commits and names must match their form, and candidates
must exist in the registry of that commit, before they reach a job with a GPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gate.errors import BadInputError, GateError
from gate.github.context import SHA
from gate.github.repository import Pull, RepositoryReader
from gate.github.suites import Suite, suites_of_change, suites_of_name, touches_kernels
from gate.settings.github import GithubSettings

TAG = "[bench]"
NO_COMMIT = "0" * 40
"""The value of `before` in the push event of a new branch."""
MAY_DISPATCH = ("admin", "write")
"""GitHub's permission levels that include pushing; it reports `maintain` as `write`."""


class NotPermittedError(GateError):
    """A user without write permission requested GPU time."""

    exit_code = 64


@dataclass(frozen=True, slots=True)
class CiPlan:
    """What to measure. `owed`: kernels changed but nothing is measured; the required check must fail."""

    reason: str
    sha: str = ""
    suites: tuple[Suite, ...] = ()
    pr: int | None = None
    merge_base: str = ""
    owed: bool = False

    def outputs(self) -> dict[str, str]:
        """The job's outputs."""
        rows = [
            {"suite": str(suite), "impl": suite.impl, "runner": suite.runner.name, "device": suite.runner.device,
             "labels": json.dumps(suite.runner.labels)}
            for suite in self.suites
        ]  # fmt: skip
        return {
            "measure": json.dumps(bool(rows)),
            "owed": json.dumps(self.owed),
            "matrix": json.dumps({"include": rows}),
            "sha": self.sha,
            "pr": str(self.pr or ""),
            "merge-base": self.merge_base,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its name, its payload, its commit, and the users who triggered or re-ran it."""

    name: str
    payload: Mapping[str, Any]
    sha: str
    actors: tuple[str, ...] = field(default_factory=tuple)


def plan(event: Event, source: RepositoryReader, settings: GithubSettings) -> CiPlan:
    """The plan for an event. Raises BadInputError, CandidateNotFoundError, NotPermittedError or RefusedError."""
    if event.name not in EVENTS:
        raise BadInputError(f"unsupported event '{event.name}'; use {', '.join(EVENTS)}")
    return EVENTS[event.name](event, source, settings)


def _push(event: Event, source: RepositoryReader, settings: GithubSettings) -> CiPlan:
    head = event.payload.get("head_commit")
    if not head or TAG not in head.get("message", ""):
        return CiPlan(f"nothing is measured: the head commit's message does not contain {TAG}")
    sha = _commit(event.sha)
    default = event.payload.get("repository", {}).get("default_branch", "")
    before = _commit(event.payload.get("before") or NO_COMMIT)
    changed = source.files_since(default if before == NO_COMMIT else before, sha)
    suites = suites_of_change(changed, sha, source, settings)
    return CiPlan(f"{TAG} in {sha[:12]}", sha, suites, merge_base=_merge_base(source, default, sha))


def _pull_request(event: Event, source: RepositoryReader, settings: GithubSettings) -> CiPlan:
    pull = _event_pull(event.payload)
    if event.payload.get("action") == "edited" and "base" not in (event.payload.get("changes") or {}):
        return CiPlan("neither the commits nor the base changed", pull.head_sha, pr=pull.number)
    changed = source.pull_files(pull.number)
    owed = touches_kernels(changed)
    if pull.fork:
        reason = "a fork is measured after a maintainer has reviewed this commit and starts the workflow for it"
        return CiPlan(reason, pull.head_sha, pr=pull.number, owed=owed)
    if TAG not in source.commit_message(pull.head_sha):
        return CiPlan(f"the head commit's message does not contain {TAG}", pull.head_sha, pr=pull.number, owed=owed)
    return _of_pull(pull, suites_of_change(changed, pull.head_sha, source, settings), source)


def _dispatch(event: Event, source: RepositoryReader, settings: GithubSettings) -> CiPlan:
    for actor in dict.fromkeys(event.actors):
        level = source.permission(actor)
        if level not in MAY_DISPATCH:
            raise NotPermittedError(
                f"{actor} may not start this workflow (permission: {level}); ask somebody with write permission"
            )
    given = {name: str(value or "").strip() for name, value in (event.payload.get("inputs") or {}).items()}
    impl, sha = given.get("IMPL"), given.get("sha", "")
    if not given.get("pr"):
        commit, name = _commit(sha or event.sha), impl or settings.impl
        return CiPlan(f"{name}, started by hand", commit, suites_of_name(name, commit, source, settings))
    pull = _reviewed(source.pull(_number(given["pr"])), sha)
    if impl:
        return _of_pull(pull, suites_of_name(impl, sha, source, settings), source)
    return _of_pull(pull, suites_of_change(source.pull_files(pull.number), sha, source, settings), source)


def _reviewed(pull: Pull, sha: str) -> Pull:
    """Returns the pull request if it is open and its head is the reviewed commit. Raises BadInputError."""
    if not pull.is_open:
        raise BadInputError(f"pull request {pull.number} is closed; reopen it, or start the workflow without `pr`")
    if _commit(sha) != pull.head_sha:
        raise BadInputError(
            f"pull request {pull.number} is at {pull.head_sha}, but {sha} was reviewed; review the new commit, "
            "then start the workflow for it"
        )
    return pull


EVENTS = {"push": _push, "pull_request": _pull_request, "workflow_dispatch": _dispatch}


def _of_pull(pull: Pull, suites: tuple[Suite, ...], source: RepositoryReader) -> CiPlan:
    base = _merge_base(source, pull.base_sha, pull.head_sha)
    names = ", ".join(dict.fromkeys(suite.impl for suite in suites))
    return CiPlan(f"{names} of pull request {pull.number}", pull.head_sha, suites, pull.number, base)


def _event_pull(payload: Mapping[str, Any]) -> Pull:
    event = payload.get("pull_request") or {}
    head, base = event.get("head") or {}, event.get("base") or {}
    ours, theirs = (side.get("repo") or {} for side in (base, head))
    fork = not theirs or theirs.get("full_name") != ours.get("full_name")
    number = _number(str(event.get("number", "")))
    return Pull(number, True, _commit(head.get("sha", "")), _commit(base.get("sha", "")), fork)


def _merge_base(source: RepositoryReader, base: str, sha: str) -> str:
    """The merge base; empty if it is the commit itself."""
    found = _commit(source.merge_base(base, sha))
    return "" if found == sha else found


def _commit(text: str) -> str:
    if not SHA.fullmatch(text):
        raise BadInputError(f"'{text[:80]}' is not a commit; give all 40 hexadecimal digits")
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
        raise BadInputError(f"'{text[:80]}' is not the number of a pull request; give it in `pr`")
    return int(text)
