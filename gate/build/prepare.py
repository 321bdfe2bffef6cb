"""Prepares a candidate: its environment, its build, and the file that its process loads."""

from __future__ import annotations

from dataclasses import replace

from gate.build.build import build
from gate.build.cache_key import files_sha256
from gate.build.file_digests import NotReadableError
from gate.candidates.registry import Candidate
from gate.records import Build, Environment
from gate.session import Session, describe_environment


def environment_of(session: Session) -> Environment:
    """The environment of the session's device. Raises UnfitEnvironmentError."""
    with session.stage("start"):
        return describe_environment(session.server, session.device)


def prepare_candidate(session: Session, candidate: Candidate) -> tuple[Environment, Build]:
    """The environment, and the candidate's build. Raises UnfitEnvironmentError."""
    environment = environment_of(session)
    session.progress(f"build {candidate.name}", 0, 1)
    with session.stage("build"):
        digest = _files_sha256(candidate)
        built = build(candidate, session.server, session.settings.limits.build_s)
    return environment, replace(built, files_sha256=digest)


def _files_sha256(candidate: Candidate) -> str | None:
    """None: the folder has a file that cannot be read, and its build fails for the same reason."""
    try:
        return files_sha256(candidate.folder)
    except NotReadableError:
        return None


def source_of(candidate: Candidate, built: Build) -> str:
    """The path that a candidate's process loads: its library or its Python file."""
    return built.library or candidate.entry
