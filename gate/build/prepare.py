"""A candidate made ready to run: its environment, its build, and the file that its process loads."""

from __future__ import annotations

from dataclasses import replace

from gate.build.build import build
from gate.build.cache_key import files_sha256
from gate.build.file_digests import NotReadableError
from gate.candidates.registry import Candidate
from gate.records import Build, Environment
from gate.session import Session, describe_environment


def environment_of(session: Session) -> Environment:
    """Where all is to run. Raises UnfitEnvironmentError."""
    with session.stage("start"):
        return describe_environment(session.server, session.device)


def prepare_candidate(session: Session, candidate: Candidate) -> tuple[Environment, Build]:
    """Where the candidate is to run, and what it was built into."""
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
    """What a candidate's process loads."""
    return built.library or candidate.entry
