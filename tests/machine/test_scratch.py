"""A job's temporary folder: private while the job runs, and removed afterwards with all files in it."""

import errno
import io
import json
import os
import tempfile
from pathlib import Path

import pytest

from gate.errors import UnfitEnvironmentError
from gate.machine import scratch
from gate.records import Status
from gate.sandbox import server as fork_server
from gate.sandbox.client import WorkerServer
from gate.sandbox.confinement import landlock_abi
from gate.sandbox.job import make_job
from gate.sandbox.protocol import CHECK
from tests.support import examples
from tests.support.jobs import answers_in, python_job
from tests.support.processes import eventually

needs_landlock = pytest.mark.skipif(landlock_abi() < 2, reason="this kernel has no Landlock of ABI 2")
SAYS_WHERE = """
import json, os, subprocess, tempfile
child = subprocess.run(["sh", "-c", "echo $TMPDIR"], capture_output=True, text=True).stdout.strip()
named = [os.environ[name] for name in ("TMPDIR", "TMP", "TEMP")]
print(json.dumps([tempfile.gettempdir(), child, *named]), flush=True)
"""


@pytest.fixture
def running(server, tmp_path):
    """Runs Python code as a job, and says how it ended."""
    return lambda code: server.call(*python_job(tmp_path, code), 60.0)


def folder_of(ending):
    (folder,) = set(json.loads(ending.last_output_line))
    return Path(folder)


def test_temporary_files_of_a_job_lie_in_the_jobs_folder(running):
    first, second = (folder_of(running(SAYS_WHERE)) for _ in range(2))
    assert first != second
    assert first.parent == second.parent
    assert first.parent.parent == Path(scratch.parent_folder())


LEAVINGS = {
    "nothing": "",
    "a file": "open('file', 'w').write('x')",
    "a folder that may not be entered": "os.makedirs('a/b'); os.chmod('a/b', 0); os.chmod('a', 0)",
    "itself closed": "os.mkdir('a'); os.chmod('.', 0)",
    "a link to elsewhere": "os.symlink('/', 'root'); os.symlink('.', 'loop')",
    "a socket": "import socket; socket.socket(socket.AF_UNIX).bind('socket')",
}


@pytest.mark.parametrize("left", LEAVINGS.values(), ids=LEAVINGS)
@pytest.mark.parametrize("end", ["", "os._exit(3)"], ids=["answers", "dies"])
def test_a_jobs_temporary_folder_is_removed_with_all_that_it_left(left, end, running):
    ending = running(f"{SAYS_WHERE}\nos.chdir(tempfile.gettempdir())\n{left}\n{end}")
    assert ending.status is (Status.CRASHED if end else Status.OK)
    assert not folder_of(ending).exists()


@needs_landlock
def test_a_job_writes_nowhere_else_among_temporary_files(running, tmp_path):
    shared = Path(scratch.parent_folder()) / "of_a_test"
    for path in (shared, tmp_path / "of_another_job"):
        ending = running(f"open({str(path)!r}, 'w')")
        assert "PermissionError" in answers_in(ending)[0]["message"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Temporary folders are made in a folder of the test's own."""
    monkeypatch.setattr(scratch, "parent_folder", lambda: str(tmp_path))
    return tmp_path


def make_deep_tree(top, levels):
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deep", dir_fd=descriptor)
        below = os.open("deep", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def test_a_tree_deeper_than_a_path_may_be_long_is_removed(here):
    with scratch.temporary_folder() as folder:
        make_deep_tree(folder, 1100)
    assert list(here.iterdir()) == []


def test_a_slow_removal_does_not_delay_the_answer_and_ends_when_the_server_ends(here, monkeypatch):
    monkeypatch.setattr(scratch, "REMOVAL_S", 0.01)
    monkeypatch.setattr(scratch, "REMOVE", ("sh", "-c", 'read forever < "$0/fifo"'))
    with scratch.temporary_folder() as folder:
        os.mkfifo(Path(folder) / "fifo")
    assert Path(folder).exists()
    monkeypatch.undo()
    scratch.remove_leftovers()
    assert eventually(lambda: not Path(folder).exists())


def a_job(caches):
    return make_job(CHECK, [], 1.0, examples.limits(), caches)


def test_a_temporary_folder_that_cannot_be_created_is_a_machine_fault_with_a_remedy(monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device", "/full/kg-x")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(UnfitEnvironmentError, match=r"No space left on device: '/full/kg-x'; .* set TMPDIR"):
        fork_server.run_job(None, a_job("/full"), b"[]", io.BytesIO())


def test_a_job_that_cannot_be_forked_leaves_no_folder(here, monkeypatch):
    def no_more():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_more)
    with pytest.raises(BlockingIOError):
        fork_server.run_job(None, a_job(str(here)), b"[]", io.BytesIO())
    assert list(here.iterdir()) == []


def test_a_sockets_path_fits_even_if_the_users_temporary_folder_has_a_long_path(tmp_path, monkeypatch):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    code = "from multiprocessing.connection import Listener; print(Listener(family='AF_UNIX').address)"
    with WorkerServer(examples.limits()) as server:
        ending = server.call(*python_job(tmp_path, code), 60.0)
    assert "/kg-" in ending.last_output_line, ending.output


@pytest.mark.parametrize("usable", [True, False])
def test_a_long_path_is_kept_if_no_shorter_one_is_writable(usable, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", long := "/" + "x" * 60)
    monkeypatch.setattr(os, "access", lambda path, mode: usable)
    assert scratch.parent_folder() == (scratch.SHORT_PARENT if usable else long)
