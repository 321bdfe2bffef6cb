"""PyGithub with limited waits and retried writes; every refusal becomes a RefusedError with a remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gate.errors import GateError

if TYPE_CHECKING:
    from github import Github
    from github.GithubRetry import GithubRetry

TIMEOUT_S = 15
PATIENCE_S = 120.0
"""Longest single wait for a rate limit: minutes, not the hour until GitHub resets the limit."""
SECONDARY_WAIT_S = 60.0
"""GitHub's recommended wait for a secondary limit without a stated time."""
RETRIES, BACKOFF_S = 4, 1.0


class RefusedError(GateError):
    """GitHub refused or did not answer a request; `status` is the HTTP status, 0 without an answer."""

    exit_code = 69

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


REMEDIES = {
    0: "GitHub did not answer; run the job again",
    401: "invalid token; pass `github.token`",
    403: "the token lacks a permission; give the job `pull-requests: write`",
    404: "not found, or not visible to this token; check the number and the job's permissions",
    410: "it was deleted; run the job again",
    422: "GitHub rejected the content; report this as a bug of Kernel Gate",
    429: "GitHub's rate limit is exceeded; run the job again later",
}


def connect(api_url: str) -> Github:
    """A client with the token of GITHUB_TOKEN (or GH_TOKEN), if set."""
    from github import Auth, Github

    token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    return Github(
        auth=Auth.Token(token) if token else None,
        base_url=api_url.rstrip("/"),
        timeout=TIMEOUT_S,
        user_agent="kernel-gate",
        per_page=100,
        lazy=True,
        retry=_retry(),
        seconds_between_requests=0,
        seconds_between_writes=0,
    )


def _retry() -> GithubRetry:
    from github.GithubException import RateLimitExceededException
    from github.GithubRetry import GithubRetry
    from urllib3.response import BaseHTTPResponse

    class Patient(GithubRetry):
        """Never waits longer than `max_rate_limit_wait`, even if a header requests it."""

        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            wait = super().get_retry_after(response)
            limit = self.max_rate_limit_wait
            if wait is not None and limit is not None and wait > limit:
                raise RateLimitExceededException(response.status, {"message": f"rate limit: wait {wait:.0f} s"})
            return wait

    return Patient(
        total=RETRIES,
        backoff_factor=BACKOFF_S,
        status_forcelist=[429, *range(500, 600)],
        allowed_methods={"GET", "POST", "PATCH", "DELETE"},
        secondary_rate_wait=SECONDARY_WAIT_S,
        max_rate_limit_wait=PATIENCE_S,
    )


@contextmanager
def named_refusals(action: str) -> Iterator[None]:
    """Converts the errors of PyGithub and requests to RefusedError, with the failed action and a remedy."""
    import requests
    from github import GithubException
    from github.GithubException import RateLimitExceededException

    try:
        yield
    except RateLimitExceededException as error:
        raise RefusedError(429, f"cannot {action}: {REMEDIES[429]}") from error
    except GithubException as error:
        raise _refused(action, error.status, error.message) from error
    except requests.RequestException as error:
        raise _refused(action, 0, type(error).__name__) from error


def _refused(action: str, status: int, message: str | None) -> RefusedError:
    remedy = REMEDIES.get(status, REMEDIES[0])
    answer = " ".join((message or "").split())[:200]
    return RefusedError(status, f"cannot {action}: {status or 'no answer'} {answer}; {remedy}")
