"""NVIDIA's tools that run a candidate under them: ncu and compute-sanitizer.

They need privileges and files that a candidate's process gives up, so that their job is the one that is not confined:
the small program under them, which is ours, confines itself before it loads the candidate. The fork server ends what
the job leaves behind, as of any other.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gate.machine import scratch
from gate.machine.programs import run_program
from gate.sandbox import candidate_caches, confinement
from gate.sandbox.calls import CallFailure, call
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import TOOL, ToolAnswer, ToolRequest

OUTPUT_BYTES = 1_000_000
PARAMETERS = Path("/proc/driver/nvidia/params")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How it ended. `code` is None if it could not start or was ended; `message` gives the reason."""

    code: int | None
    output: str = ""
    seconds: float = 0.0
    message: str = field(default="", compare=False)


def run_tool(
    server: WorkerServer,
    command: Sequence[str],
    limit_s: float,
    variables: Mapping[str, str] | None = None,
    candidate: str | None = None,
) -> ToolResult:
    """Runs the tool as a job, with the server's environment, and the caches of the candidate that runs under it."""
    request = ToolRequest(tuple(command), dict(variables or {}), candidate)
    answers = call(server, replace(TOOL, process=Path(command[0]).name), [request], limit_s)
    if isinstance(answers, CallFailure):
        return ToolResult(None, seconds=answers.seconds, message=answers.message)
    (answer,) = answers
    return ToolResult(answer.code, answer.output, answer.seconds)


def execute(request: ToolRequest) -> ToolAnswer:
    """Runs the tool inside the job's process. Raises OSError if the tool cannot be started."""
    variables = {**os.environ, **request.variables}  # this process's own are the server's, which are stripped already
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:  # a pipe would stay open for as long as a daemon that was left behind
        done = run_program(request.command, variables=variables, stdout=output, stderr=subprocess.STDOUT)
        size = os.fstat(output.fileno()).st_size
        printed = os.pread(output.fileno(), OUTPUT_BYTES, max(0, size - OUTPUT_BYTES))
    return ToolAnswer(done.returncode, printed.decode(errors="replace"), time.monotonic() - started)


def confine_program() -> None:
    """For the program under the tool, before it loads a candidate: it can change no file outside, nor a process.

    Where the driver lets administrators alone read counters, it keeps what makes it one: docs/security.md.
    """
    admins_only = parameter("RmProfilingAdminOnly") == "1"
    kept = (confinement.SYS_ADMIN, confinement.PERFMON) if admins_only else ()
    own = filter(None, [os.environ.get(scratch.VARIABLES[0])])  # the job's temporary folder
    confinement.confine(directories=[*own, *candidate_caches.of_this_process()], kept=kept)
    candidate_caches.remove_stale_locks()


def parameter(name: str) -> str | None:
    """A setting of the driver's kernel module, or None where it cannot be read."""
    try:
        lines = PARAMETERS.read_text().splitlines()
    except OSError:
        return None
    return dict(line.split(": ", 1) for line in lines if ": " in line).get(name)
