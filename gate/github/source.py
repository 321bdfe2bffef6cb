"""What GitHub knows of a repository, asked for only where it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from gate.github.client import RefusedError, connect, named_refusals

if TYPE_CHECKING:
    from github import Github
    from github.Repository import Repository


@dataclass(frozen=True, slots=True)
class Pull:
    """A pull request now: where its head is, and whether that is in another repository."""

    number: int
    is_open: bool
    head_sha: str
    base_sha: str
    fork: bool


class Source(Protocol):
    """The questions that a plan may ask. Every answer may be refused (RefusedError)."""

    def pull(self, number: int) -> Pull: ...
    def pull_files(self, number: int) -> list[str]: ...
    def commit_message(self, sha: str) -> str: ...
    def commit_files(self, sha: str) -> list[str]: ...
    def has_file(self, path: str, sha: str) -> bool: ...
    def permission(self, user: str) -> str: ...
    def merge_base(self, base: str, sha: str) -> str: ...


class GithubSource:
    """The same, asked of GitHub."""

    def __init__(self, api_url: str, repository: str) -> None:
        self._github: Github = connect(api_url)
        self._repository: Repository = self._github.get_repo(repository)

    def pull(self, number: int) -> Pull:
        with named_refusals(f"read pull request {number}"):
            found = self._repository.get_pull(number)
            repository = found.head.repo  # None where the fork was deleted
            fork = repository is None or repository.full_name != self._repository.full_name
            return Pull(found.number, found.state == "open", found.head.sha, found.base.sha, fork)

    def pull_files(self, number: int) -> list[str]:
        with named_refusals(f"list the files of pull request {number}"):
            files = self._repository.get_pull(number).get_files()
            return [name for each in files for name in (each.filename, each.previous_filename) if name]

    def commit_message(self, sha: str) -> str:
        with named_refusals(f"read commit {sha[:12]}"):
            return self._repository.get_commit(sha).commit.message

    def commit_files(self, sha: str) -> list[str]:
        with named_refusals(f"list the files of commit {sha[:12]}"):
            return [each.filename for each in self._repository.get_commit(sha).files]

    def has_file(self, path: str, sha: str) -> bool:
        try:
            with named_refusals(f"look for {path}"):
                found = self._repository.get_contents(path, ref=sha)
        except RefusedError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return not isinstance(found, list) and found.type == "file"

    def permission(self, user: str) -> str:
        with named_refusals(f"read what {user} may do"):
            return self._repository.get_collaborator_permission(user)

    def merge_base(self, base: str, sha: str) -> str:
        with named_refusals("find the merge base"):
            return self._repository.compare(base, sha).merge_base_commit.sha
