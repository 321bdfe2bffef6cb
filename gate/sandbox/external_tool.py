"""NVIDIA's tools that run a candidate under them: ncu and compute-sanitizer.

They need privileges and files that a candidate's process gives up, so that their job is the one that is not confined:
the small program under them, which is ours, confines itself before it loads the candidate. The fork server ends what
the job leaves behind, as of any other.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gate.machine import scratch
from gate.machine.programs import run_program
from gate.records import Status
from gate.records.codec import from_json, to_json
from gate.sandbox import candidate_caches, confinement
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import ToolAnswer, ToolRequest

JOB = "watch"
OUTPUT_BYTES = 1_000_000
PARAMETERS = Path("/proc/driver/nvidia/params")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How it ended. `code` is absent where it could not start or had to be ended, as `message` says."""

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
    """Runs the tool in a job of the server's, with the server's environment, and the caches of what it watches."""
    asked = ToolRequest(tuple(command), dict(variables or {}), candidate)
    ending = server.call({"kind": JOB, "requests": [to_json(asked)]}, limit_s)
    if ending.status is not Status.OK:
        return ToolResult(None, seconds=ending.seconds, message=ending.message)
    watched = from_json(ToolAnswer, ending.replies[0], "a tool's answer")
    return ToolResult(watched.code, watched.output, ending.seconds)


def execute(asked: ToolRequest) -> ToolAnswer:
    """The job's own part. Raises OSError where the tool cannot be started."""
    variables = {**os.environ, **asked.variables}  # this process's own are the server's, which are stripped already
    with tempfile.TemporaryFile() as output:  # a pipe would stay open for as long as a daemon that was left behind
        done = run_program(asked.command, variables=variables, stdout=output, stderr=subprocess.STDOUT)
        size = os.fstat(output.fileno()).st_size
        said = os.pread(output.fileno(), OUTPUT_BYTES, max(0, size - OUTPUT_BYTES))
    return ToolAnswer(done.returncode, said.decode(errors="replace"))


def confine_program() -> None:
    """For the program under the tool, before it loads a candidate: it can change no file outside, nor a process.

    Where the driver lets administrators alone read counters, it keeps what makes it one: docs/security.md.
    """
    admins_only = parameter("RmProfilingAdminOnly") == "1"
    kept = (confinement.SYS_ADMIN, confinement.PERFMON) if admins_only else ()
    own = filter(None, [os.environ.get(scratch.VARIABLES[0])])  # the job's temporary folder
    confinement.confine(directories=[*own, *candidate_caches.of_this_process()], kept=kept)
    candidate_caches.let_go()


def parameter(name: str) -> str | None:
    """A setting of the driver's kernel module, or None where it cannot be read."""
    try:
        lines = PARAMETERS.read_text().splitlines()
    except OSError:
        return None
    return dict(line.split(": ", 1) for line in lines if ": " in line).get(name)
