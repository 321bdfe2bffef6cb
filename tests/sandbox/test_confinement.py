"""What a job can still do to the machine, and what it cannot. The attacks: tests/candidates/adversarial."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gate.records import Status
from gate.sandbox.confinement import DROPPED, landlock_abi
from tests.support.jobs import answers_in, python_job

needs_landlock = pytest.mark.skipif(landlock_abi() < 2, reason="this kernel has no Landlock of ABI 2")


@pytest.fixture
def message(server, tmp_path):
    """Runs code as a candidate's; returns what it was told of its failure."""

    def run(code):
        ending = server.call(*python_job(tmp_path, code), 60.0)
        assert ending.status is Status.OK, ending.message
        return answers_in(ending)[0]["message"]

    return run


def test_a_job_gains_no_privileges_and_keeps_no_capability_that_reaches_others(message):
    code = "raise Exception(open('/proc/self/status').read())"
    said = message(code).partition("Exception: ")[2]
    status = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    assert status["NoNewPrivs"].strip() == "1"
    for name in ("CapInh", "CapPrm", "CapEff"):
        assert not any(int(status[name], 16) >> number & 1 for number in DROPPED)


def test_a_job_writes_to_temporary_places_and_devices(message):
    code = """
import os, pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    made = pathlib.Path(folder, "one"); made.mkdir()
    (made / "x").write_text("x"); (made / "x").rename(pathlib.Path(folder, "x"))
for path in ("/dev/null", "/proc/self/clear_refs"):
    pathlib.Path(path).write_text("5")
raise Exception("all of it")
"""
    assert "Exception: all of it" in message(code)


@contextlib.contextmanager
def theirs_in(folder):
    """A file that the job has nothing to do with."""
    path = folder / f".of_a_test_{os.getpid()}"
    path.write_text("mine")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@needs_landlock
@pytest.mark.parametrize("change", ["write_text('x')", "unlink()", "rename('/tmp/theirs')"])
def test_a_job_changes_no_file_elsewhere(change, message):
    here = Path(__file__).parents[1]
    with theirs_in(here) as theirs:
        assert "PermissionError" in message(f"import pathlib; pathlib.Path({str(theirs)!r}).{change}")
        assert theirs.read_text() == "mine"


@needs_landlock
@pytest.mark.parametrize("path", ["environ", "mem", "maps"])
def test_a_job_reads_nothing_of_a_process_outside(path, message):
    assert "PermissionError" in message(f"open('/proc/{os.getpid()}/{path}').read()")


@pytest.mark.skipif(landlock_abi() < 6, reason="this kernel has no Landlock of ABI 6")
def test_a_job_signals_its_own_processes_and_no_other(message):
    code = """
import os, signal, subprocess
child = subprocess.Popen(["sleep", "60"]); child.kill(); child.wait()
os.kill(os.getppid(), 0)
"""
    assert "PermissionError" in message(code)


def test_a_kernel_without_landlock_confines_what_it_can(monkeypatch):
    from gate.sandbox import confinement

    calls = []
    monkeypatch.setattr(confinement, "_syscall", lambda *arguments: calls.append(arguments) or -1)
    monkeypatch.setattr(confinement, "_give_up_privileges", lambda kept: calls.append("privileges"))
    assert confinement.confine() == 0
    assert calls[0] == "privileges"
    assert len(calls) == 2  # it asked for the version, and took the answer


def test_the_server_is_hidden_from_a_process_of_the_same_user_without_landlock_too(server, message):
    """As a job is that was not confined, and has no capability."""
    assert message("raise Exception('the server is there')")
    pid = server._server.process.pid
    code = f"from gate.sandbox.confinement import _give_up_privileges as g; g(); open('/proc/{pid}/environ').read()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
