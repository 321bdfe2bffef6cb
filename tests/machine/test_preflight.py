"""A fault of the machine is one line with its remedy before anything starts, and no candidate is blamed."""

import errno
import os
import resource
import shutil
import tempfile
from pathlib import Path

import pytest

from gate.errors import MACHINE_REMEDIES, UnfitEnvironmentError, explain_machine, machine_fault_in
from gate.machine import preflight
from gate.machine.preflight import cache_root, faults, full_disk, require_fit_machine, shared_memory_folder
from gate.runtime.device.cpu import MAX_SHARED_BYTES
from gate.settings.model import LimitSettings
from gate.witness.coordinator import SHARED_BUFFERS, witness, witness_batch_of
from tests.support import examples
from tests.support.machines import NOBODY, SMALL_RUN, command_line, in_a_process, tiny_disk

NOT_MADE = str(Path(tempfile.gettempdir()) / "kernel-gate-not-made")
FAULTS = """
from gate.machine.preflight import faults
from gate.settings.model import LimitSettings
{before}
print(*faults(LimitSettings(), "cpu"), sep="\\n")
"""


def found(device="cpu"):
    return list(faults(LimitSettings(), device))


def found_after(before, **variables):
    """The faults that a process of its own finds, after it has given something up."""
    code, out, err = in_a_process(FAULTS.format(before=before), variables=variables)
    assert code == 0, err
    return [line for line in out.splitlines() if line]


def test_this_machine_can_run():
    assert found() == found("cuda") == []
    assert full_disk() is None
    require_fit_machine(LimitSettings(), "cpu")


@pytest.mark.parametrize(
    ("variable", "needed"), [("TMPDIR", preflight.TEMPORARY_BYTES), ("KERNEL_GATE_CACHE", preflight.CACHE_BYTES)]
)
def test_a_disk_without_room_is_named_with_what_is_needed(variable, needed, tmp_path, monkeypatch):
    with tiny_disk(tmp_path / "tiny") as disk:
        monkeypatch.setenv(variable, str(disk))
        (fault,) = found("cuda")
        assert f"{disk} has 0 MiB free, and {needed >> 20} are needed" in fault
        assert f"set {variable} to another folder" in fault
        (disk / "fill").write_bytes(bytes(60_000))
        with pytest.raises(OSError, match="No space left"):
            (disk / "more").write_bytes(bytes(10_000))
        assert len(found("cuda")) == 1
        assert full_disk() == found("cuda")[0]


def test_a_missing_temporary_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    assert found("cuda") == [
        f"TMPDIR names {tmp_path}/gone, which is no folder that can be used; make it, or unset TMPDIR"
    ]


def test_a_cache_that_does_not_exist_yet_is_no_fault_and_is_not_created(monkeypatch, tmp_path):
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "not" / "yet"))
    assert found("cuda") == []
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("place", ["file/cache", "/proc/cache", "/dev/null"])
def test_a_cache_that_cannot_be_created_is_named(place, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / place))
    (fault,) = found("cuda")
    assert fault.startswith(f"the build cache {tmp_path / place} cannot be written (")
    assert fault.endswith("set KERNEL_GATE_CACHE to another folder")


def test_without_a_home_the_cache_needs_a_folder_of_its_own(monkeypatch):
    def no_home(user=None):
        raise KeyError("no such user")

    monkeypatch.setattr("pwd.getpwuid", no_home)
    monkeypatch.delenv("HOME")
    for name in ("KERNEL_GATE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UnfitEnvironmentError, match=r"no home folder .*set HOME, or KERNEL_GATE_CACHE"):
        cache_root()
    assert "no home folder" in found("cuda")[0]


as_another_user = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without a home")


@as_another_user
@pytest.mark.parametrize(
    ("home", "fault"),
    [("os.environ.pop('HOME', None)", "this user has no home folder"), ("os.environ['HOME'] = '/'", "/.cache")],
)
def test_a_missing_or_read_only_home_folder_is_named(home, fault):
    leave = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    forget = "[os.environ.pop(name, None) for name in ('KERNEL_GATE_CACHE', 'XDG_CACHE_HOME', 'TMPDIR')]"
    (said,) = found_after(f"{leave}; {forget}; {home}")
    assert fault in said
    assert "KERNEL_GATE_CACHE" in said


@as_another_user
def test_a_temporary_folder_of_another_user_is_named(tmp_path):
    leave = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    (first, *_) = found_after(leave, TMPDIR="/var", KERNEL_GATE_CACHE=NOT_MADE)
    assert first == "the temporary folder /var cannot be written (Permission denied); set TMPDIR to another folder"
    (first, *_) = found_after(leave, TMPDIR=str(tmp_path), KERNEL_GATE_CACHE=NOT_MADE)
    assert first.startswith(f"TMPDIR names {tmp_path}, which is no folder that can be used")


LIMITS = {
    "RLIMIT_NOFILE": (16, "open files is 16", "ulimit -n"),
    "RLIMIT_FSIZE": (100 << 20, "bytes in a file", "ulimit -f"),
    "RLIMIT_AS": (2 << 30, "address space", "ulimit -v"),
    "RLIMIT_CPU": (60, "processor time is 60", "ulimit -t"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_a_run_would_break_is_named(name):
    value, words, remedy = LIMITS[name]
    (fault,) = found_after(f"resource.setrlimit(resource.{name}, ({value}, {value}))")
    assert words in fault
    assert remedy in fault


@pytest.mark.parametrize("name", LIMITS)
def test_a_soft_limit_that_may_be_raised_is_raised(name):
    lowered = f"resource.setrlimit(resource.{name}, ({LIMITS[name][0]}, resource.getrlimit(resource.{name})[1]))"
    assert found_after(lowered) == []


@as_another_user
def test_a_limit_of_processes_counts_those_that_the_user_has():
    leave = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})"
    few = "resource.setrlimit(resource.RLIMIT_NPROC, (4, 4))"
    assert found_after(few) == []  # it does not bind root
    faults_of_user = found_after(f"{few}; {leave}", KERNEL_GATE_CACHE=NOT_MADE)
    assert any("processes and threads of this user is 4" in fault for fault in faults_of_user)


def test_memory_is_shared_where_there_is_room(monkeypatch, tmp_path):
    assert shared_memory_folder(1 << 62) is None
    monkeypatch.setattr(preflight, "SHARED", tmp_path / "none")
    assert shared_memory_folder(0) != tmp_path / "none"
    monkeypatch.setattr(preflight, "SHARED", tmp_path)
    assert shared_memory_folder(1) == tmp_path
    assert SHARED_BUFFERS * MAX_SHARED_BYTES <= preflight.SHARED_BYTES


def test_without_shared_memory_both_folders_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "SHARED_BYTES", 1 << 62)
    (fault,) = found("cpu")
    assert f"{preflight.SHARED} has" in fault
    assert "--shm-size" in fault
    assert found("cuda") == []  # GPUs share their own memory


def test_a_witness_uses_the_disk_where_shared_memory_is_small(monkeypatch, tmp_path, server, witness_server):
    with tiny_disk(tmp_path / "shm") as shm:
        monkeypatch.setattr(preflight, "SHARED", shm)
        assert shared_memory_folder(preflight.SHARED_BYTES) not in (shm, None)


def test_a_witness_without_room_blames_the_machine_and_starts_nothing(monkeypatch):
    monkeypatch.setattr("gate.witness.coordinator.shared_memory_folder", lambda size: None)
    bout = witness_batch_of(examples.evaluation(), "cpu")
    (seen,) = witness(None, None, "cpu", "made_up", "kernel.py", [bout], 1.0)
    assert seen.status == "environment"
    assert "set TMPDIR" in seen.message


@pytest.mark.parametrize("number", MACHINE_REMEDIES)
def test_a_machine_error_names_the_file_and_a_remedy(number):
    said = explain_machine(OSError(number, os.strerror(number), "/a/file"))
    assert said == f"/a/file: {os.strerror(number)}; {MACHINE_REMEDIES[number]}"


@pytest.mark.parametrize("error", [OSError(), OSError(errno.ENOENT, "No such file", "x"), PermissionError(13, "no")])
def test_another_error_is_not_the_machines(error):
    assert explain_machine(error) is None


@pytest.mark.parametrize(
    "line",
    [
        "fatal error: error writing to ccAb.s: No space left on device",
        "/usr/bin/ld: final link failed: No space left on device",
        "a.s: Fatal error: can't write 64 bytes to section .text of a.o: 'No space left on device'",
        "tmpxft_1.cpp4.ii: Read-only file system",
    ],
)
def test_a_compiler_error_caused_by_the_machine_is_recognised(line):
    fault = machine_fault_in(f"$ c++ a.cpp\na.cpp: In function f\n{line}\ncompilation terminated.")
    assert fault is not None
    assert fault.startswith(line)
    assert machine_fault_in("a.cpp:1:2: error: No space left on device was said here") is None


def test_a_run_on_a_full_disk_ends_at_once_and_starts_nothing(kernel_gate, monkeypatch, tmp_path):
    monkeypatch.setattr("gate.sandbox.client._start", lambda: pytest.fail("a server was started"))
    for name in ("TMPDIR", "KERNEL_GATE_CACHE"):
        with tiny_disk(tmp_path / name) as disk, monkeypatch.context() as patch:
            patch.setenv(name, str(disk))
            answer = kernel_gate(*SMALL_RUN, "--out", tmp_path / "artifacts")
            assert (answer.code, str(disk) in answer.complaint) == (69, True)


def test_a_build_that_fills_the_disk_is_a_fault_of_the_machine(kernel_gate, tmp_path, monkeypatch):
    """With a real compiler on a full disk."""
    with tiny_disk(tmp_path / "cache") as disk:
        monkeypatch.setenv("KERNEL_GATE_CACHE", str(disk))
        monkeypatch.setattr(preflight, "CACHE_BYTES", 0)
        (disk / "fill").write_bytes(bytes(40_000))
        answer = kernel_gate("build", "--impl", "cpu_tiled")
        assert answer.code == 69
        assert "No space left on device" in answer.out
        assert "; free some space there" in answer.out


FILLS_THE_DISK = """
import os, pathlib

def attention(q, k, v, scale, causal, out):
    with (pathlib.Path(os.environ["HOME"]) / "compiled").open("wb") as file:
        file.write(bytes(1 << 22))
"""


def test_a_full_disk_during_compilation_is_not_blamed_on_the_candidate(python_candidate, tmp_path):
    """With a real candidate that writes where load_inline and torch.compile would, on a disk with room to start."""
    folder = python_candidate(FILLS_THE_DISK)
    little = "from gate.machine import preflight\npreflight.TEMPORARY_BYTES = 1 << 19\npreflight.SHARED_BYTES = 0\n"
    asked = ("--impl", "made_up", "--kernels", folder.parent, "--out", tmp_path / "out", *SMALL_RUN[3:])
    short = tempfile.mkdtemp()  # a long path would not be used
    with tiny_disk(Path(short) / "disk", "2m") as disk:
        code, out, err = in_a_process(little + command_line("run", *asked), variables={"TMPDIR": str(disk)})
    shutil.rmtree(short)
    assert (code, "the temporary folder" in out) == (69, True), out + err


def test_checking_the_limits_does_not_change_them():
    before = [resource.getrlimit(getattr(resource, name)) for name in LIMITS]
    found()
    assert [resource.getrlimit(getattr(resource, name)) for name in LIMITS] == before
