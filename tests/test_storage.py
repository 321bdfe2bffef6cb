"""Files that users name: whatever is no plain file is refused at once, by name, and never waited for."""

import os
import socket

import pytest

from gate.errors import BadInputError, MalformedFileError
from gate.storage import read_given
from tests.support import examples

COMMANDS = {
    "gate": ("gate", "--cand"),
    "compare": ("compare", "--against", "x", "--cand"),
    "score": ("score", "--cand"),
    "fit": ("fit", "--run"),
    "comment": ("comment", "--dry-run", "--cand"),
    "fuzz": ("fuzz", "--repro"),
    "calibrate": ("calibrate", "--data"),
    "a policy": ("gate", "--cand", "x", "--policy"),
}


@pytest.fixture
def pipe(tmp_path):
    """A pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_waits_for_a_pipe_without_a_writer(command, pipe, kernel_gate):
    answer = kernel_gate(*command, pipe)
    assert answer.code == 64
    assert "it is a pipe, not a regular file; choose " in answer.complaint


def test_a_registry_with_a_pipe_for_a_kernel_toml_is_refused(pipe, kernel_gate):
    folder = pipe.parent / "kernels" / "made_up"
    folder.mkdir(parents=True)
    pipe.rename(folder / "kernel.toml")
    answer = kernel_gate("build", "--impl", "made_up", "--kernels", folder.parent)
    assert answer.code == 64
    assert "it is a pipe" in answer.complaint


def test_a_plain_file_is_read_and_a_link_to_it_too(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_given(tmp_path / "link", "a file") == b"content"


def test_a_folder_a_device_a_socket_and_nothing_are_refused_and_the_message_says_what_to_name(tmp_path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        for path in (tmp_path, "/dev/zero", "/dev/null", tmp_path / "s", tmp_path / "missing", "nul\0l"):
            with pytest.raises(BadInputError, match=r"choose a run\.json"):
                read_given(path, "a run.json")


def test_a_file_without_end_is_not_read_to_its_end(tmp_path):
    (tmp_path / "large").write_bytes(b"0" * 101)
    assert read_given(tmp_path / "large", "a file", limit=101)
    with pytest.raises(MalformedFileError, match="too large for a file"):
        read_given(tmp_path / "large", "a file", limit=100)


def never(*_):
    raise AssertionError("a server was started for what is refused")


REFUSED = {
    "a baseline that is none": ("run", "--impl", "python_honest", "--baseline", "nope"),
    "the same, measured": ("measure-candidate", "--impl", "python_honest", "--baseline", "cudnn"),
    "a backend that is none": ("measure-sdpa", "--backend", "nope"),
    "a file for a folder of records": ("baseline", "--folder", __file__),
    "no folder of records to check": ("baseline", "--check", "--folder", "missing"),
}


@pytest.mark.parametrize("asked", REFUSED.values(), ids=REFUSED)
def test_what_is_known_to_be_wrong_is_refused_before_torch_is_imported(asked, kernel_gate, monkeypatch, tmp_path):
    monkeypatch.setattr("gate.sandbox.client.WorkerServer.start", never)
    monkeypatch.chdir(tmp_path)
    folder = ("--kernels", examples.ADVERSARIAL) if "--impl" in asked else ()
    answer = kernel_gate(*asked, *folder, "--device", "cpu")
    assert answer.code == 64
    assert answer.complaint
