"""The commit and pull request of a verdict, from the job's environment and event, never from candidate files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gate.errors import BadInputError

SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_URL = re.compile(r"https?://[\w.:/-]+", re.ASCII)
API_URL, SERVER_URL = "https://api.github.com", "https://github.com"
SET_BY_ACTIONS = "GitHub Actions sets it; elsewhere, set it yourself"


@dataclass(frozen=True, slots=True)
class GithubContext:
    """A commit of a repository, the workflow run that judged it, and the pull request, if any."""

    repository: str
    sha: str
    run_id: int
    run_number: int
    attempt: int
    pr: int | None = None
    api_url: str = API_URL
    server_url: str = SERVER_URL

    def __post_init__(self) -> None:
        forms = (
            ("GITHUB_REPOSITORY", self.repository, _REPOSITORY, "OWNER/NAME"),
            ("the commit", self.sha, SHA, "40 hexadecimal digits"),
            ("GITHUB_API_URL", self.api_url, _URL, "a URL"),
            ("GITHUB_SERVER_URL", self.server_url, _URL, "a URL"),
        )
        for name, value, form, expected in forms:
            if not form.fullmatch(value):
                raise BadInputError(f"{name} must be {expected}, not '{value}'; {SET_BY_ACTIONS}")
        if self.pr is not None and self.pr < 1:
            raise BadInputError(f"a pull request's number is at least 1, not {self.pr}; fix --pr")

    @property
    def run_url(self) -> str:
        """The page of the run."""
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    @property
    def links(self) -> tuple[tuple[str, str], ...]:
        """The run, its artifacts, and the commit it judged."""
        commit = f"{self.server_url}/{self.repository}/commit/{self.sha}"
        return (
            (f"run {self.run_number}", f"{self.run_url}/attempts/{self.attempt}"),
            ("artifacts", f"{self.run_url}#artifacts"),
            (f"commit {self.sha[:12]}", commit),
        )


def read_event(environment: Mapping[str, str]) -> dict[str, Any]:
    """The event's payload; empty if there is none. Raises BadInputError if it cannot be read."""
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot read the event at {path}: {error}; {SET_BY_ACTIONS}") from error
    if not isinstance(event, dict):
        raise BadInputError(f"the event at {path} is not a JSON object; {SET_BY_ACTIONS}")
    return event


def context_of(
    environment: Mapping[str, str], event: Mapping[str, Any], *, pr: int | None = None, sha: str | None = None
) -> GithubContext:
    """Takes every value from the argument, else the event, else the job's environment. Raises BadInputError."""
    pull = event.get("pull_request") or {}
    return GithubContext(
        repository=environment.get("GITHUB_REPOSITORY", ""),
        sha=sha or pull.get("head", {}).get("sha") or environment.get("GITHUB_SHA", ""),
        run_id=_number(environment, "GITHUB_RUN_ID"),
        run_number=_number(environment, "GITHUB_RUN_NUMBER"),
        attempt=_number(environment, "GITHUB_RUN_ATTEMPT"),
        pr=pr if pr is not None else pull.get("number"),
        api_url=environment.get("GITHUB_API_URL", API_URL),
        server_url=environment.get("GITHUB_SERVER_URL", SERVER_URL),
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "1")
    if not (text.isascii() and text.isdigit()):
        raise BadInputError(f"{name} must be a number, not '{text}'; {SET_BY_ACTIONS}")
    return int(text)
