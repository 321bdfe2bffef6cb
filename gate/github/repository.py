"""Reads pull requests, commits and files from GitHub, each only when it is needed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from gate.errors import BadInputError
from gate.github.client import RefusedError, connect, named_refusals

if TYPE_CHECKING:
    from github import Github
    from github.ContentFile import ContentFile
    from github.File import File
    from github.Repository import Repository


@dataclass(frozen=True, slots=True)
class Pull:
    """The current state of a pull request; `fork`: its head is in another repository."""

    number: int
    is_open: bool
    head_sha: str
    base_sha: str
    fork: bool


MAX_FILES, MAX_COMPARED = 3_000, 300
"""Largest number of files that GitHub lists for a pull request, and between two commits."""
MAX_ENTRIES = 1_000
"""Largest number of entries that GitHub lists for a folder."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Changed files, with the old names of renamed ones. `whole` is false if GitHub may not have listed all."""

    files: tuple[str, ...]
    whole: bool = True


class RepositoryReader(Protocol):
    """What a plan reads from a repository. Every method may raise RefusedError."""

    def pull(self, number: int) -> Pull: ...
    def pull_files(self, number: int) -> Changed: ...
    def commit_message(self, sha: str) -> str: ...
    def files_since(self, base: str, sha: str) -> Changed: ...
    def folders(self, path: str, sha: str) -> list[str]: ...
    def text(self, path: str, sha: str) -> str | None: ...
    def permission(self, user: str) -> str: ...
    def merge_base(self, base: str, sha: str) -> str: ...


class GithubReader:
    """Reads from GitHub's API."""

    def __init__(self, api_url: str, repository: str) -> None:
        self._github: Github = connect(api_url)
        self._repository: Repository = self._github.get_repo(repository)

    def pull(self, number: int) -> Pull:
        with named_refusals(f"read pull request {number}"):
            found = self._repository.get_pull(number)
            repository = found.head.repo  # None if the fork was deleted
            fork = repository is None or repository.full_name != self._repository.full_name
            return Pull(found.number, found.state == "open", found.head.sha, found.base.sha, fork)

    def pull_files(self, number: int) -> Changed:
        with named_refusals(f"list the files of pull request {number}"):
            return _changed(list(self._repository.get_pull(number).get_files()), MAX_FILES)

    def commit_message(self, sha: str) -> str:
        with named_refusals(f"read commit {sha[:12]}"):
            return self._repository.get_commit(sha).commit.message

    def files_since(self, base: str, sha: str) -> Changed:
        with named_refusals(f"list the files that changed up to {sha[:12]}"):
            return _changed(self._repository.compare(base, sha).files, MAX_COMPARED)

    def folders(self, path: str, sha: str) -> list[str]:
        found = self._contents(path, sha)
        entries = found if isinstance(found, list) else []
        if len(entries) >= MAX_ENTRIES:
            raise BadInputError(
                f"{path}/ has {MAX_ENTRIES} entries or more, and GitHub lists only these; remove some"
            )
        return [entry.name for entry in entries if entry.type == "dir"]

    def text(self, path: str, sha: str) -> str | None:
        found = self._contents(path, sha)
        if found is None or isinstance(found, list) or found.type != "file":
            return None
        return base64.b64decode(found.content).decode(errors="replace")

    def _contents(self, path: str, sha: str) -> ContentFile | list[ContentFile] | None:
        try:
            with named_refusals(f"read {path}"):
                return self._repository.get_contents(path, ref=sha)
        except RefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def permission(self, user: str) -> str:
        with named_refusals(f"read the permission of {user}"):
            return self._repository.get_collaborator_permission(user)

    def merge_base(self, base: str, sha: str) -> str:
        with named_refusals("find the merge base"):
            return self._repository.compare(base, sha).merge_base_commit.sha


def _changed(files: Sequence[File], limit: int) -> Changed:
    names = (name for file in files for name in (file.filename, file.previous_filename) if name)
    return Changed(tuple(names), whole=len(files) < limit)
