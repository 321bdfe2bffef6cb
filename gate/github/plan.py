"""From an event to what is measured, where, and whether a pull request owes a measurement that it did not ask for.

Everything that an event carries was written by somebody: numbers, commits and names are held to their form, and
candidates to the registry of the very commit, before they reach a job with a GPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gate.errors import BadInputError, CandidateNotFoundError, GateError
from gate.github.place import SHA
from gate.github.runners import GithubSettings
from gate.github.source import Pull, Source

TAG = "[bench]"
KERNELS = "kernels"
MOST_FILES = 3_000
"""GitHub lists no more of a pull request; what is not listed may be a kernel."""
NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
MAY_DISPATCH = ("admin", "write")
"""What GitHub answers for those who may push; `maintain` counts as write there."""


class NotPermittedError(GateError):
    """Somebody without the right to asked for GPU time."""

    exit_code = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `owed`: kernels changed and nothing is measured, so the required check must fail."""

    reason: str
    sha: str = ""
    candidates: tuple[str, ...] = ()
    pr: int | None = None
    merge_base: str = ""
    owed: bool = False

    def outputs(self, settings: GithubSettings) -> dict[str, str]:
        """The job's outputs: every candidate on every runner."""
        suites = [
            {"suite": f"{impl}@{runner.name}", "impl": impl, "runner": runner.name, "device": runner.device,
             "labels": json.dumps(runner.labels)}
            for impl in self.candidates for runner in settings.runners
        ]  # fmt: skip
        return {
            "measure": json.dumps(bool(suites)),
            "owed": json.dumps(self.owed),
            "matrix": json.dumps({"include": suites}),
            "sha": self.sha,
            "pr": str(self.pr or ""),
            "merge-base": self.merge_base,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """An event: its name, its payload, the commit it is about, and who set it off (again)."""

    name: str
    payload: Mapping[str, Any]
    sha: str
    actors: tuple[str, ...] = field(default_factory=tuple)


def plan(asked: Asked, source: Source, settings: GithubSettings) -> Plan:
    """The plan of an event. Raises BadInputError, CandidateNotFoundError, NotPermittedError or RefusedError."""
    if asked.name not in EVENTS:
        raise BadInputError(f"no plan for the event '{asked.name}'; use {', '.join(EVENTS)}")
    return EVENTS[asked.name](asked, source, settings)


def _push(asked: Asked, source: Source, settings: GithubSettings) -> Plan:
    head = asked.payload.get("head_commit")
    if not head or TAG not in head.get("message", ""):
        return Plan(f"nothing is measured: the head commit's message has no {TAG}")
    sha = _commit(asked.sha)
    names = _chosen(source.commit_files(sha), sha, source, settings)
    default = asked.payload.get("repository", {}).get("default_branch", "")
    base = _merge_base(source, default, sha) if default else ""
    return Plan(f"{TAG} in {sha[:12]}", sha, names, merge_base=base)


def _pull_request(asked: Asked, source: Source, settings: GithubSettings) -> Plan:
    pull = _event_pull(asked.payload)
    files = source.pull_files(pull.number)
    owed = len(files) >= MOST_FILES or any(name.startswith(f"{KERNELS}/") for name in files)
    if pull.fork:
        why = "a fork is measured when a maintainer has reviewed this commit and dispatches it"
        return Plan(why, pull.head_sha, pr=pull.number, owed=owed)
    if TAG not in source.commit_message(pull.head_sha):
        return Plan(f"the head commit's message has no {TAG}", pull.head_sha, pr=pull.number, owed=owed)
    return _of_pull(pull, _chosen(files, pull.head_sha, source, settings), source)


def _dispatch(asked: Asked, source: Source, settings: GithubSettings) -> Plan:
    for actor in dict.fromkeys(asked.actors):
        level = source.permission(actor)
        if level not in MAY_DISPATCH:
            raise NotPermittedError(f"{actor} may not dispatch this ({level}); ask somebody who may push")
    given = {name: str(value or "").strip() for name, value in (asked.payload.get("inputs") or {}).items()}
    impl, sha = given.get("IMPL") or settings.impl, given.get("sha", "")
    if not given.get("pr"):
        commit = _commit(sha or asked.sha)
        return Plan(f"{impl} was dispatched", commit, _known((impl,), commit, source))
    pull = source.pull(_number(given["pr"]))
    if not pull.is_open:
        raise BadInputError(f"pull request {pull.number} is closed; reopen it, or dispatch without `pr`")
    if _commit(sha) != pull.head_sha:
        raise BadInputError(
            f"pull request {pull.number} is at {pull.head_sha}, and {sha} was reviewed; review that, then dispatch it"
        )
    return _of_pull(pull, _known((impl,), sha, source), source)


EVENTS = {"push": _push, "pull_request": _pull_request, "workflow_dispatch": _dispatch}


def _of_pull(pull: Pull, names: tuple[str, ...], source: Source) -> Plan:
    base = _merge_base(source, pull.base_sha, pull.head_sha)
    return Plan(f"{', '.join(names)} of pull request {pull.number}", pull.head_sha, names, pull.number, base)


def _event_pull(payload: Mapping[str, Any]) -> Pull:
    event = payload.get("pull_request") or {}
    head, base = event.get("head") or {}, event.get("base") or {}
    ours, theirs = (side.get("repo") or {} for side in (base, head))
    fork = not theirs or theirs.get("full_name") != ours.get("full_name")
    number = _number(str(event.get("number", "")))
    return Pull(number, True, _commit(head.get("sha", "")), _commit(base.get("sha", "")), fork)


def _merge_base(source: Source, base: str, sha: str) -> str:
    """The merge base, or nothing where it is the commit itself."""
    found = _commit(source.merge_base(base, sha))
    return "" if found == sha else found


def _chosen(files: Sequence[str], sha: str, source: Source, settings: GithubSettings) -> tuple[str, ...]:
    """The candidates whose files changed and that are still there, else the policy's own."""
    changed = dict.fromkeys(name.split("/")[1] for name in files if re.match(rf"{KERNELS}/[^/]+/", name))
    present = [name for name in changed if NAME.fullmatch(name) and _is_candidate(name, sha, source)]
    if len(present) > settings.most_candidates:
        raise BadInputError(
            f"{len(present)} candidates changed, and {settings.most_candidates} are measured at once; dispatch each"
        )
    return tuple(present) or _known((settings.impl,), sha, source)


def _known(names: tuple[str, ...], sha: str, source: Source) -> tuple[str, ...]:
    for name in names:
        if not NAME.fullmatch(name):
            raise CandidateNotFoundError(f"'{name[:80]}' is no candidate's name; IMPL is letters, digits and _")
        if not _is_candidate(name, sha, source):
            raise CandidateNotFoundError(f"no candidate '{name}' in {KERNELS}/ at {sha[:12]}; choose another IMPL")
    return names


def _is_candidate(name: str, sha: str, source: Source) -> bool:
    return source.has_file(f"{KERNELS}/{name}/kernel.toml", sha)


def _commit(text: str) -> str:
    if not SHA.fullmatch(text):
        raise BadInputError(f"'{text[:80]}' is no commit; give all 40 hexadecimal digits")
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
        raise BadInputError(f"'{text[:80]}' is no pull request's number")
    return int(text)
