"""PyGithub with patience that ends: waits are capped, writes are retried, and every refusal has a name."""

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
"""The longest single wait for a rate limit: a job waits for minutes, not for the hour until a limit is reset."""
SECONDARY_WAIT_S = 60.0
"""GitHub's advice for a secondary limit that names no time."""
RETRIES, BACKOFF_S = 4, 1.0


class RefusedError(GateError):
    """GitHub did not do what was asked; `status` is HTTP's, and 0 where no answer came."""

    exit_code = 69

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


REMEDIES = {
    0: "GitHub did not answer; run the job again",
    401: "the token is not valid; pass `github.token`",
    403: "the token may not do this; give the job `pull-requests: write`",
    404: "not there, or not to be seen with this token; check the number and the job's permissions",
    410: "gone; was it deleted?",
    422: "GitHub refused the content",
    429: "GitHub's rate limit; run the job again later",
}


def connect(api_url: str) -> Github:
    """A client with the token of GITHUB_TOKEN (or GH_TOKEN), where there is one."""
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
        """Never waits longer than `max_rate_limit_wait`, whatever a header asks for."""

        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            wait = super().get_retry_after(response)
            most = self.max_rate_limit_wait
            if wait is not None and most is not None and wait > most:
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
def named_refusals(what: str) -> Iterator[None]:
    """Turns what PyGithub and requests raise into RefusedError, which says what was tried and what to do."""
    import requests
    from github import GithubException
    from github.GithubException import RateLimitExceededException

    try:
        yield
    except RateLimitExceededException as error:
        raise RefusedError(429, f"cannot {what}: {REMEDIES[429]}") from error
    except GithubException as error:
        raise _refused(what, error.status, error.message) from error
    except requests.RequestException as error:
        raise _refused(what, 0, type(error).__name__) from error


def _refused(what: str, status: int, message: str | None) -> RefusedError:
    remedy = REMEDIES.get(status, REMEDIES[0])
    said = " ".join((message or "").split())[:200]
    return RefusedError(status, f"cannot {what}: {status or 'no answer'} {said}; {remedy}")
