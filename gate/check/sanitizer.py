"""Runs a candidate under NVIDIA's compute-sanitizer: memory errors, races, uninitialised reads, wrong barriers.

The tools are slow, so they run apart from checks and timing: a small program (gate/check/sanitizer_target.py) calls
the candidate on small cases, once for every tool.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gate.build.prepare import prepare_candidate, source_of
from gate.candidates.registry import Candidate
from gate.errors import BadInputError
from gate.machine.cuda_tools import require_tool
from gate.records import EXIT_CODES, SCHEMA_VERSION, Build, Case, Dtype, Record, SchemaVersion, Status, Workload
from gate.records.codec import to_json
from gate.records.verdict import OUTCOMES
from gate.sandbox import bootstrap
from gate.sandbox.client import WorkerServer
from gate.sandbox.external_tool import run_tool
from gate.session import Session
from gate.storage import write_text

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
PROGRAM = "compute-sanitizer"
TOOL_S = 300.0
HARNESS = bootstrap.command("gate.check.sanitizer_target")
MAX_FINDINGS = 5
RAN = "kernel-gate: ran"
SUMMARY = re.compile(
    r"^=+ (?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: \d+ hazards? displayed \((\d+) error)", re.M
)
FINDING = re.compile(r"^=+ (?!COMPUTE-SANITIZER|\w+ SUMMARY|Target application|Saved host)(\S.*)$")
PLACE = re.compile(r"^=+ {2,}(at .*)$")


@dataclass(frozen=True, slots=True)
class SanitizerRequest(Record):
    """The candidate and the cases on which the program under the sanitizer calls it."""

    impl: str
    candidate: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Sanitized(Record):
    """The result of one tool; `errors` is None if the tool, or the candidate under it, did not finish."""

    tool: str
    errors: int | None
    findings: tuple[str, ...] = ()
    message: str = ""

    @property
    def status(self) -> Status:
        """`ok` if the tool found no errors."""
        return Status.CRASHED if self.errors is None else Status.INCORRECT if self.errors else Status.OK


@dataclass(frozen=True, slots=True)
class SanitizerReport(Record):
    """The results of all tools on the same cases; empty if the build failed."""

    impl: str
    build: Build
    cases: tuple[Case, ...]
    tools: tuple[Sanitized, ...] = ()
    kind: Literal["sanitizer"] = "sanitizer"
    schema_version: SchemaVersion = SCHEMA_VERSION

    @property
    def exit_code(self) -> int:
        """0: no errors. 1: errors were found. 3: the build failed, or a tool did not finish."""
        if self.build.status is not Status.OK:
            return EXIT_CODES[OUTCOMES[self.build.status]]
        seen = {each.status for each in self.tools}
        return 1 if Status.INCORRECT in seen else 3 if Status.CRASHED in seen else 0


def find_sanitizer(device: str = "cuda") -> str:
    """The program's path. Raises UnfitEnvironmentError if it is not installed, and BadInputError on a CPU."""
    if device != "cuda":
        raise BadInputError(f"{PROGRAM} checks only GPU kernels, not device {device}; use --device cuda")
    return require_tool(PROGRAM)


def small_cases(candidate: Candidate, dtype: Dtype) -> tuple[Case, ...]:
    """Cases that a tool finishes in seconds: whole tiles and a ragged last one, with and without a mask."""
    head_dim = 64 if 64 in (candidate.supports.head_dims or (64,)) else candidate.supports.head_dims[0]
    sizes = [(1, 2, seq_len, head_dim) for seq_len in (128, 203)]
    every = (Case(Workload(*size, dtype, causal)) for size in sizes for causal in (False, True))
    return tuple(case for case in every if not candidate.supports.refusal(case.workload))


def sanitize(session: Session, candidate: Candidate, dtype: Dtype, program: str) -> SanitizerReport:
    """Builds the candidate, and runs it under one tool after the other."""
    _, built = prepare_candidate(session, candidate)
    cases = small_cases(candidate, dtype)
    report = SanitizerReport(candidate.name, built.as_evidence(), cases)
    if built.status is not Status.OK:
        return report
    seen: list[Sanitized] = []
    source = source_of(candidate, built)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "request.json"
        write_text(path, to_json(SanitizerRequest(candidate.name, source, cases)))
        for number, tool in enumerate(TOOLS):
            session.progress(f"{PROGRAM} --tool {tool}", number, len(TOOLS))
            seen.append(run_sanitizer(session.server, program, tool, [*HARNESS, str(path)], candidate=source))
    return replace(report, tools=tuple(seen))


def run_sanitizer(
    server: WorkerServer,
    program: str,
    tool: str,
    command: Sequence[str],
    limit_s: float = TOOL_S,
    candidate: str | None = None,
) -> Sanitized:
    """Runs one tool on a program that runs `candidate` and prints `kernel-gate: ran` at its end."""
    call = [program, "--tool", tool, "--target-processes", "application-only", *command]
    seen = run_tool(server, call, limit_s, {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}, candidate)
    return Sanitized(tool, None, message=seen.message) if seen.code is None else read_output(tool, seen.output)


def read_output(tool: str, output: str) -> Sanitized:
    """Reads the errors that a tool reports: the sum of its summaries, one per process."""
    counts = [int(one or other) for one, other in SUMMARY.findall(output)]
    findings = tuple(_findings(output))[:MAX_FINDINGS]
    if counts and (sum(counts) or RAN in output):
        return Sanitized(tool, sum(counts), findings)
    last = next((line for line in reversed(output.splitlines()) if line.strip("= ")), "none")
    return Sanitized(tool, None, findings, f"did not finish; last line of output: {last.strip('= ')[:200]}")


def _findings(output: str) -> Iterator[str]:
    """Every error's first line, with its location in the code."""
    found = ""
    for line in output.splitlines():
        if match := FINDING.match(line):
            if found:
                yield found
            found = match[1]
        elif found and (match := PLACE.match(line)):
            yield f"{found} {match[1]}"
            found = ""
    if found:
        yield found
