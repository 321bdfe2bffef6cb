"""Tools that run a candidate under them: what they leave behind, and what the candidate may do there."""

import sys
from pathlib import Path

import pytest

from gate.check.sanitizer import HARNESS as SANITIZED
from gate.check.sanitizer import SanitizerRequest as SanitizedRequest
from gate.profiling.collect import HARNESS as PROFILED
from gate.profiling.protocol import Call
from gate.profiling.protocol import NcuRequest as ProfiledRequest
from gate.records import Case, Workload
from gate.records.codec import to_json
from gate.sandbox import external_tool
from gate.sandbox.confinement import DROPPED, PERFMON, SYS_ADMIN, landlock_abi
from gate.sandbox.external_tool import run_tool
from gate.storage import write_text
from tests.sandbox.test_client import LEAVES_A_DAEMON
from tests.support.processes import DEADLINE_S, alive, eventually

TINY = Workload(1, 2, 64, 32, "float32")
CASES = {
    "profiled": (PROFILED, lambda path: ProfiledRequest("cpu", (Call("spy", TINY),), path, 64), ()),
    "sanitized": (SANITIZED, lambda path: SanitizedRequest("spy", path, (Case(TINY),)), ("cpu",)),
}
SPY = """
import os, pathlib
status = pathlib.Path("/proc/self/status").read_text()
try:
    pathlib.Path({theirs!r}).write_text("forged")
except OSError as error:
    print("stopped by", type(error).__name__)
print(*(line for line in status.splitlines() if line.startswith(("CapEff", "NoNewPrivs"))), sep="\\n")
{leaves}
print("left:", left)

def attention(q, k, v, scale, causal, out):
    raise ValueError("seen enough")
"""


@pytest.fixture(params=CASES)
def spied(request, server, tmp_path, python_candidate):
    """What a candidate prints under a tool: of its surroundings, and of the process that it left behind."""
    theirs = Path(__file__).with_name(f".of_a_test_{request.param}")
    leaves = LEAVES_A_DAEMON.format(daemon="")
    folder = python_candidate(SPY.replace("{theirs!r}", repr(str(theirs))).replace("{leaves}", leaves), "spy")
    harness, asked, options = CASES[request.param]
    path = tmp_path / "request.json"
    write_text(path, to_json(asked(str(folder / "kernel.py"))))
    try:
        yield run_tool(server, [*harness, str(path), *options], DEADLINE_S)
        assert not theirs.exists() or landlock_abi() < 2
    finally:
        theirs.unlink(missing_ok=True)


def test_a_candidate_under_a_tool_is_confined_and_leaves_nothing_behind(spied):
    assert "seen enough" in spied.output
    said = dict(line.split(":", 1) for line in spied.output.splitlines() if line.startswith(("Cap", "NoNew", "left")))
    assert said["NoNewPrivs"].strip() == "1"
    assert not any(int(said["CapEff"], 16) >> number & 1 for number in DROPPED)
    assert landlock_abi() < 2 or "stopped by PermissionError" in spied.output
    assert eventually(lambda: not alive(int(said["left"])))


@pytest.mark.parametrize(("admins_only", "kept"), [("1", (SYS_ADMIN, PERFMON)), ("0", ()), (None, ())])
def test_it_stays_an_administrator_only_where_the_driver_asks_for_one(admins_only, kept, monkeypatch, tmp_path):
    path = tmp_path / "params"
    if admins_only is not None:
        path.write_text(f"ResmanDebugLevel: 0\nRmProfilingAdminOnly: {admins_only}\n")
    asked = []
    monkeypatch.setattr(external_tool, "PARAMETERS", path)
    monkeypatch.setattr(external_tool.confinement, "confine", lambda **options: asked.append(options["kept"]))
    external_tool.confine_program()
    assert asked == [kept]


def test_what_is_left_behind_does_not_hold_the_answer_back(server):
    done = run_tool(server, ["sh", "-c", "sleep 1000 & echo done"], DEADLINE_S)
    assert (done.code, done.output) == (0, "done\n")


def test_the_tool_itself_is_not_confined_and_gets_its_variables(server, tmp_path):
    code = "import os; print(os.environ['OF_THE_TOOL'], open('/proc/self/status').read())"
    done = run_tool(server, [sys.executable, "-c", code], DEADLINE_S, {"OF_THE_TOOL": "here"})
    assert done.output.startswith("here ")
    assert "NoNewPrivs:\t0" in done.output


def test_a_tool_that_is_late_is_ended_and_one_that_cannot_start_is_named(server):
    late = run_tool(server, ["sleep", "1000"], 0.3)
    assert (late.code, late.message) == (None, f"sleep did not end within {late.seconds:.0f} s and was killed")
    absent = run_tool(server, ["/nowhere/ncu"], DEADLINE_S)
    assert absent.code is None
    assert absent.message.startswith("ncu exited with code 1 before it answered: FileNotFoundError")
