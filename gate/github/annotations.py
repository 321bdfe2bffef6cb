"""Writes the verdict as GitHub annotations at the candidate's files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gate.records import Build, Gate, Outcome, Run, Status

MAX_ANNOTATIONS = 10
"""GitHub shows at most ten annotations of each severity for one step."""
_COMPILER = re.compile(
    r"(?<![\w./+-])(?P<file>[\w./+-]++)[:(](?P<line>\d{1,6})(?::\d++)?\)?:\s*+(?:fatal )?error:?\s*+(?P<said>.+)"
)
"""Possessive quantifiers prevent backtracking: matching time stays linear in the length of a line."""
_SEVERITIES = {Outcome.PASS: "notice", Outcome.UNDECIDED: "warning"}


def annotate(run: Run, kernels: str = "kernels") -> Iterator[str]:
    """Workflow commands: the compiler's errors at their lines, else every gate that did not pass, else one notice."""
    impl = run.measurement.impl or "unknown"
    file = candidate_file(impl, kernels)
    build = run.measurement.build
    lines = list(_compiler_errors(build, kernels)) if build is not None and build.status is not Status.OK else []
    failed = [gate for gate in run.verdict.gates if gate.outcome is not Outcome.PASS]
    lines = lines or [_of_gate(gate, file) for gate in failed]
    yield from lines[:MAX_ANNOTATIONS]
    if not lines:
        yield workflow_command("notice", file, "Kernel Gate: pass", run.verdict.reason)


def candidate_file(impl: str, kernels: str = "kernels") -> str:
    """Path of the candidate's first source if its folder exists here, otherwise of its kernel.toml."""
    from gate.candidates.registry import find_candidate
    from gate.errors import GateError

    try:
        source = find_candidate(impl, Path(kernels)).sources[0]
    except GateError:
        source = "kernel.toml"
    return str(PurePosixPath(kernels) / impl / source)


def _compiler_errors(build: Build, kernels: str) -> Iterator[str]:
    """`file:line:column: error: ...` of C++ compilers, and `file(line): error: ...` of nvcc."""
    for found in filter(None, map(_COMPILER.search, build.log.splitlines())):
        file = str(PurePosixPath(kernels) / build.impl / PurePosixPath(found["file"]).name)
        yield workflow_command("error", file, f"Kernel Gate: {build.status}", found["said"], int(found["line"]))


def _of_gate(gate: Gate, file: str) -> str:
    where = f" ({gate.workload})" if gate.workload else ""
    severity = _SEVERITIES.get(gate.outcome, "error")
    return workflow_command(severity, file, f"Kernel Gate: {gate.name}{where}", gate.evidence)


def workflow_command(severity: str, file: str, title: str, message: str, line: int = 1) -> str:
    """One workflow command, escaped so that no part of it can start another command."""
    return f"::{severity} file={_property(file)},line={line},title={_property(title)}::{_text(message)}"


def _text(text: str) -> str:
    one_line = "".join(character if character.isprintable() else " " for character in text)[:1_000]
    return one_line.replace("%", "%25")


def _property(text: str) -> str:
    return _text(text).replace(":", "%3A").replace(",", "%2C")
