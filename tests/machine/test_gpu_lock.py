"""One gate at a time on a GPU. The second process is real; nothing here depends on how fast it is."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from gate.errors import UnfitEnvironmentError
from gate.machine import gpu_lock as module
from gate.machine.gpu_lock import exclusive_gpu, gpu_lock, lock_folder
from tests.support.machines import tiny_disk
from tests.support.nvml_fake import FakeNvml

GPU, OTHER_GPU = "0123456789abcdef", "fedcba9876543210"
HOLD = """
import sys
from datetime import datetime
from pathlib import Path
from gate.machine.gpu_lock import gpu_lock
with gpu_lock(sys.argv[1], print, folder=Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setattr(module, "POLL_S", 0.001)


@contextlib.contextmanager
def holder(folder: Path):
    """Another process that holds the lock until its standard input ends."""
    command = [sys.executable, "-c", HOLD, GPU, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def refuse(said: str) -> None:
    raise AssertionError(f"should not have to wait: {said}")


def held(folder: Path) -> bool:
    """Whether another open of the file holds the lock."""
    with contextlib.suppress(UnfitEnvironmentError), gpu_lock(GPU, lambda _: None, timeout_s=0, folder=folder):
        return False
    return True


def lock_file(folder: Path) -> Path:
    return folder / f"kernel-gate-{GPU}.lock"


def test_a_free_gpu_is_locked_at_once_and_released(tmp_path):
    with gpu_lock(GPU, refuse, folder=tmp_path):
        assert held(tmp_path)
    assert not held(tmp_path)


def test_the_lock_is_released_after_an_exception(tmp_path):
    with pytest.raises(RuntimeError), gpu_lock(GPU, refuse, folder=tmp_path):
        raise RuntimeError
    assert not held(tmp_path)


def test_another_gpu_is_not_locked(tmp_path):
    with gpu_lock(GPU, refuse, folder=tmp_path), gpu_lock(OTHER_GPU, refuse, folder=tmp_path):
        assert held(tmp_path)


def test_a_wait_names_the_process_that_uses_the_gpu_and_ends_with_it(tmp_path):
    told = []
    with holder(tmp_path) as process:

        def waiting(said):
            told.append(said)
            process.stdin.close()

        with gpu_lock(GPU, waiting, folder=tmp_path):
            assert process.wait() == 0
    assert len(told) == 1
    assert told[0].startswith(f"waiting for the GPU: process {process.pid}, since 20")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    with holder(tmp_path) as process:
        assert held(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with gpu_lock(GPU, refuse, folder=tmp_path):
            assert str(os.getpid()) in lock_file(tmp_path).read_text()


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path):
    with gpu_lock(GPU, refuse, folder=tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with child:
        free = not held(tmp_path)
        child.communicate(b"\n")
    assert free


def test_a_wait_that_times_out_names_the_process_that_uses_the_gpu(tmp_path):
    with (
        holder(tmp_path) as process,
        pytest.raises(UnfitEnvironmentError, match=rf"process {process.pid}, since") as ended,
        gpu_lock(GPU, lambda _: None, timeout_s=0.01, folder=tmp_path),
    ):
        pytest.fail("two have the lock")
    assert ended.value.exit_code == 69


def test_the_same_holder_is_reported_once(tmp_path, monkeypatch):
    told, slept = [], []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", sleep)
    with (
        gpu_lock(GPU, refuse, folder=tmp_path),
        pytest.raises(KeyboardInterrupt),
        gpu_lock(GPU, told.append, folder=tmp_path),
    ):
        pytest.fail("two have the lock")
    assert len(told) == 1


def test_nothing_of_an_earlier_holder_is_left_in_the_file(tmp_path):
    lock_file(tmp_path).write_text("9" * 200)
    with gpu_lock(GPU, refuse, folder=tmp_path):
        pid, since = lock_file(tmp_path).read_text().split()
    assert pid == str(os.getpid())
    assert datetime.fromisoformat(since).tzinfo is not None


def test_a_new_holder_is_reported(tmp_path):
    told = []
    with gpu_lock(GPU, refuse, folder=tmp_path):

        def waiting(said):
            told.append(said)
            lock_file(tmp_path).write_text("4242 2025-11-21T10:00:00+00:00\n")
            if len(told) == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), gpu_lock(GPU, waiting, folder=tmp_path):
            pytest.fail("two have the lock")
    assert told[1] == "waiting for the GPU: process 4242, since 2025-11-21T10:00:00+00:00, uses it"


@pytest.mark.parametrize("text", ["", "4242", "4242 yesterday", "rm -rf / 2025-11-21", "\x1b[31m", "\x00\xff" * 500])
def test_text_that_others_wrote_into_the_file_is_not_repeated(text, tmp_path):
    told = []

    def waiting(said):
        told.append(said)
        raise KeyboardInterrupt

    with gpu_lock(GPU, refuse, folder=tmp_path):
        lock_file(tmp_path).write_text(text)
        with pytest.raises(KeyboardInterrupt), gpu_lock(GPU, waiting, folder=tmp_path):
            pytest.fail("two have the lock")
    assert told == ["waiting for the GPU: another process uses it"]


def test_every_user_may_take_the_lock_whatever_the_first_ones_umask(tmp_path):
    former = os.umask(0o077)
    try:
        with gpu_lock(GPU, refuse, folder=tmp_path):
            assert stat.S_IMODE(lock_file(tmp_path).stat().st_mode) == 0o666
    finally:
        os.umask(former)


def test_a_file_that_exists_is_opened_without_creating(tmp_path, monkeypatch):
    """fs.protected_regular refuses O_CREAT on another user's file in /tmp, although the file is 0666."""
    lock_file(tmp_path).touch()
    really = os.open

    def refusing(path, flags, *rest):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return really(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    with gpu_lock(GPU, refuse, folder=tmp_path):
        pass


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_link_is_not_followed(target, tmp_path):
    (tmp_path / "elsewhere").write_text("precious")
    lock_file(tmp_path).symlink_to(tmp_path / target)
    with pytest.raises(UnfitEnvironmentError, match="remove it"), gpu_lock(GPU, refuse, folder=tmp_path):
        pytest.fail("followed a link")
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(lock_file(tmp_path))
    with pytest.raises(UnfitEnvironmentError, match="not a regular file"), gpu_lock(GPU, refuse, folder=tmp_path):
        pytest.fail("took a pipe for a lock")


def test_a_lock_file_that_cannot_be_opened_is_an_error(tmp_path):
    absent = tmp_path / "absent"
    with (
        pytest.raises(UnfitEnvironmentError, match="cannot open the GPU's lock"),
        gpu_lock(GPU, refuse, folder=absent),
    ):
        pytest.fail("locked nothing")


def test_all_users_share_the_same_lock_folder(tmp_path, monkeypatch):
    mine, everyones = tmp_path / "mine", tmp_path / "everyones"
    for folder, mode in ((mine, 0o755), (everyones, 0o1777)):
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setattr(module, "SHARED_FOLDERS", (tmp_path / "absent", mine, everyones))
    assert lock_folder() == everyones
    monkeypatch.setattr(module, "SHARED_FOLDERS", (mine,))
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert lock_folder() == tmp_path


def test_a_shared_folder_that_is_mounted_read_only_is_skipped(monkeypatch, tmp_path):
    with tiny_disk(tmp_path / "fixed") as fixed:
        fixed.chmod(0o1777)
        subprocess.run(["mount", "-o", "remount,ro", fixed], check=True)
        monkeypatch.setattr(module, "SHARED_FOLDERS", (fixed,))
        assert lock_folder() != fixed


def test_on_a_full_disk_the_lock_works_or_the_error_names_the_disk(tmp_path):
    with tiny_disk(tmp_path / "full") as full:
        (full / f"kernel-gate-{GPU}.lock").touch()
        with contextlib.suppress(OSError):
            (full / "fill").write_bytes(bytes(1 << 17))
        second = gpu_lock(GPU, lambda _: None, timeout_s=0, folder=full)
        with gpu_lock(GPU, refuse, folder=full), pytest.raises(UnfitEnvironmentError, match="still uses"), second:
            pass


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setattr("gate.machine.gpu_lock.lock_folder", lambda: tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return FakeNvml().install(monkeypatch)


@pytest.mark.parametrize("asked", [False, True])
def test_clocks_are_locked_only_on_request_and_unlocked_afterwards(gpu, asked):
    with exclusive_gpu(asked, refuse) as look:
        assert (gpu.gpus[0].locked_mhz is not None) is asked
        assert look().sm_clock_mhz is not None
    assert gpu.gpus[0].locked_mhz is None


def test_the_gpu_is_locked_against_others_during_a_measurement(gpu, tmp_path):
    with exclusive_gpu(False, refuse):
        (lock,) = tmp_path.iterdir()
        assert lock.name.startswith("kernel-gate-")
    assert gpu.sessions == 0
