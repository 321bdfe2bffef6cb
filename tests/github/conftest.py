"""A fake GitHub for every test that asks for one; none reaches the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_github import Github, serve

HEAD, OLDER = "a" * 40, "d" * 40
PR = 7


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Github]:
    """A repository with the open pull request 7 at HEAD, and this process as a job of its run 42."""
    monkeypatch.setattr("gate.github.client.BACKOFF_S", 0.0)
    with serve() as state:
        state.pull(PR, HEAD)
        enter_job(monkeypatch, tmp_path, state)
        yield state
        assert state.complaints == []


def enter_job(monkeypatch: pytest.MonkeyPatch, folder: Path, state: Github, number: int = 42) -> None:
    """The environment that GitHub Actions gives a job."""
    event = folder / "event.json"
    event.write_text(json.dumps({"number": PR, "pull_request": {"number": PR, "head": {"sha": HEAD}}}))
    job = {
        "GITHUB_ACTIONS": "true", "GITHUB_API_URL": state.url, "GITHUB_SERVER_URL": "https://github.test",
        "GITHUB_REPOSITORY": state.repository, "GITHUB_SHA": "c" * 40, "GITHUB_EVENT_PATH": str(event),
        "GITHUB_EVENT_NAME": "pull_request", "GITHUB_RUN_ID": str(9000 + number), "GITHUB_RUN_NUMBER": str(number),
        "GITHUB_RUN_ATTEMPT": "1", "GITHUB_TOKEN": "write-token",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "GITHUB_OUTPUT": str(folder / "output"),
    }  # fmt: skip
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
