"""Selects the candidates to measure from the changed files; an error says what to fix."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from gate.candidates.registry import NAME
from gate.errors import BadInputError, CandidateNotFoundError
from gate.github.repository import Changed, RepositoryReader
from gate.settings.github import GithubSettings, Runner

KERNELS = "kernels"
PROSE = ".md"
MAX_SUITES = 100
"""Largest number of jobs that can wait for one runner: GitHub's limit of `queue: max`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One candidate on one kind of runner."""

    impl: str
    runner: Runner

    def __str__(self) -> str:
        return f"{self.impl}@{self.runner.name}"


def touches_kernels(changed: Changed) -> bool:
    """Whether a kernel changed, or could be among the files that GitHub did not list."""
    return not changed.whole or any(name.startswith(f"{KERNELS}/") for name in changed.files)


def suites_of_change(
    changed: Changed, sha: str, source: RepositoryReader, settings: GithubSettings
) -> tuple[Suite, ...]:
    """The changed candidates; all candidates if a shared source changed; the policy's default if none changed.

    Raises BadInputError if a changed folder under kernels/ is not a candidate.
    """
    present = source.folders(KERNELS, sha)
    own = [name for name in dict.fromkeys(map(_folder, changed.files)) if name in present]
    others = [name for name in present if name not in own] if _is_shared(changed) else []
    _refuse_many(len(own) + len(others))
    suites = [suite for name in own for suite in _changed(name, sha, source, settings)]
    suites += [suite for name in others for suite in _suites(name, _devices(name, sha, source), settings)]
    _refuse_many(len(suites))
    return tuple(suites) or suites_of_name(settings.impl, sha, source, settings)


def suites_of_name(name: str, sha: str, source: RepositoryReader, settings: GithubSettings) -> tuple[Suite, ...]:
    """The named candidate on all its runners. Raises CandidateNotFoundError if it does not exist."""
    if not NAME.fullmatch(name):
        raise CandidateNotFoundError(
            f"{name[:80]!r} is not a valid candidate name; IMPL consists of letters, digits and _"
        )
    devices = _devices(name, sha, source)
    if devices is None:
        raise CandidateNotFoundError(f"no candidate '{name}' in {KERNELS}/ at {sha[:12]}; choose another IMPL")
    return _runnable(name, devices, settings)


def _folder(path: str) -> str:
    """The candidate folder of a path under kernels/; empty for other paths."""
    top, _, rest = path.partition("/")
    return rest.partition("/")[0] if top == KERNELS and "/" in rest else ""


def _is_shared(changed: Changed) -> bool:
    """Whether a source directly in kernels/ changed: any candidate may include it."""
    shared = [name for name in changed.files if name.startswith(f"{KERNELS}/") and not _folder(name)]
    return not changed.whole or any(not name.endswith(PROSE) for name in shared)


def _changed(name: str, sha: str, source: RepositoryReader, settings: GithubSettings) -> tuple[Suite, ...]:
    devices = _devices(name, sha, source)
    if devices is None:
        raise BadInputError(
            f"{name[:80]!r} in {KERNELS}/ changed but is not a candidate: give it a kernel.toml and a name of "
            f"letters, digits and _, or move sources that candidates share directly into {KERNELS}/"
        )
    return _runnable(name, devices, settings)


def _runnable(name: str, devices: Sequence[str], settings: GithubSettings) -> tuple[Suite, ...]:
    suites = _suites(name, devices, settings)
    if not suites:
        raise BadInputError(f"no runner has a device for '{name}'; add one to [github] in gate.toml")
    return suites


def _suites(name: str, devices: Sequence[str] | None, settings: GithubSettings) -> tuple[Suite, ...]:
    return tuple(Suite(name, runner) for runner in settings.runners if runner.device in (devices or ()))


def _devices(name: str, sha: str, source: RepositoryReader) -> Sequence[str] | None:
    """The devices in the candidate's kernel.toml; all devices if that is broken: measuring then reports the error.

    None if it is not a candidate.
    """
    text = source.text(f"{KERNELS}/{name}/kernel.toml", sha) if NAME.fullmatch(name) else None
    if text is None:
        return None
    try:
        devices = tomllib.loads(text).get("devices", ["cuda"])
    except (tomllib.TOMLDecodeError, RecursionError):
        devices = None
    return devices if isinstance(devices, list) else ("cuda", "cpu")


def _refuse_many(count: int) -> None:
    if count > MAX_SUITES:
        raise BadInputError(
            f"{count} measurements are needed, but only {MAX_SUITES} can wait for a runner; "
            "change fewer candidates at once"
        )
