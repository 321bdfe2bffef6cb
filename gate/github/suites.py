"""From changed files to the candidates to measure: all that a change touches, or a refusal that says what to mend."""

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
"""As many jobs wait for one runner: GitHub's limit of `queue: max`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One candidate on one kind of runner."""

    impl: str
    runner: Runner

    def __str__(self) -> str:
        return f"{self.impl}@{self.runner.name}"


def touches_kernels(changed: Changed) -> bool:
    """Whether a kernel changed; what GitHub does not list may be one."""
    return not changed.whole or any(name.startswith(f"{KERNELS}/") for name in changed.files)


def suites_of_change(
    changed: Changed, sha: str, source: RepositoryReader, settings: GithubSettings
) -> tuple[Suite, ...]:
    """The candidates that changed; all, where a source did that they may share; the policy's own, where none did.

    Raises BadInputError where something under kernels/ changed that cannot be measured.
    """
    there = source.folders(KERNELS, sha)
    own = [name for name in dict.fromkeys(map(_folder, changed.files)) if name in there]
    others = [name for name in there if name not in own] if _is_shared(changed) else []
    _refuse_many(len(own) + len(others))
    suites = [each for name in own for each in _changed(name, sha, source, settings)]
    suites += [each for name in others for each in _suites(name, _devices(name, sha, source), settings)]
    _refuse_many(len(suites))
    return tuple(suites) or suites_of_name(settings.impl, sha, source, settings)


def suites_of_name(name: str, sha: str, source: RepositoryReader, settings: GithubSettings) -> tuple[Suite, ...]:
    """The candidate that was asked for. Raises CandidateNotFoundError where it is not there."""
    if not NAME.fullmatch(name):
        raise CandidateNotFoundError(f"{name[:80]!r} is no candidate's name; IMPL is letters, digits and _")
    devices = _devices(name, sha, source)
    if devices is None:
        raise CandidateNotFoundError(f"no candidate '{name}' in {KERNELS}/ at {sha[:12]}; choose another IMPL")
    return _runnable(name, devices, settings)


def _folder(path: str) -> str:
    """The folder under kernels/ that a file is in; empty for all others."""
    top, _, rest = path.partition("/")
    return rest.partition("/")[0] if top == KERNELS and "/" in rest else ""


def _is_shared(changed: Changed) -> bool:
    """Whether a source beside the candidates' folders changed: any of them may include it."""
    beside = [name for name in changed.files if name.startswith(f"{KERNELS}/") and not _folder(name)]
    return not changed.whole or any(not name.endswith(PROSE) for name in beside)


def _changed(name: str, sha: str, source: RepositoryReader, settings: GithubSettings) -> tuple[Suite, ...]:
    devices = _devices(name, sha, source)
    if devices is None:
        raise BadInputError(
            f"{name[:80]!r} in {KERNELS}/ changed and is no candidate: give it a kernel.toml and a name of letters, "
            f"digits and _, or put what several candidates share into {KERNELS}/ itself"
        )
    return _runnable(name, devices, settings)


def _runnable(name: str, devices: Sequence[str], settings: GithubSettings) -> tuple[Suite, ...]:
    suites = _suites(name, devices, settings)
    if not suites:
        raise BadInputError(f"no runner has a device that '{name}' runs on; add one to [github] of gate.toml")
    return suites


def _suites(name: str, devices: Sequence[str] | None, settings: GithubSettings) -> tuple[Suite, ...]:
    return tuple(Suite(name, runner) for runner in settings.runners if runner.device in (devices or ()))


def _devices(name: str, sha: str, source: RepositoryReader) -> Sequence[str] | None:
    """What a candidate runs on, by its kernel.toml, and all where that is broken: measuring then fails and says why.

    None where it is no candidate.
    """
    text = source.text(f"{KERNELS}/{name}/kernel.toml", sha) if NAME.fullmatch(name) else None
    if text is None:
        return None
    try:
        said = tomllib.loads(text).get("devices", ["cuda"])
    except (tomllib.TOMLDecodeError, RecursionError):
        said = None
    return said if isinstance(said, list) else ("cuda", "cpu")


def _refuse_many(count: int) -> None:
    if count > MAX_SUITES:
        raise BadInputError(
            f"{count} measurements are due, and {MAX_SUITES} can wait for a runner; change fewer candidates at once"
        )
