"""The command line on terminals, disks and folders that do not take what it writes."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machines import command_line, in_a_process

RECORDED = Path(__file__).parents[2] / "baselines" / "nvidia-h200" / "candidates" / "hybrid_pv_flash.json"
GATE = ("gate", "--cand", RECORDED)
full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_verdict_is_shown_on_a_terminal_of_any_encoding(encoding):
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    code, out, err = in_a_process(command_line(*GATE), variables=environment)
    assert (code, err) == (1, "")
    assert "REJECTED" in out


@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8"])
def test_a_locale_of_the_users_changes_no_verdict(locale):
    environment = {"LC_ALL": locale, "LANG": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, err = in_a_process(command_line(*GATE), variables=environment)
    assert (code, err) == (1, "")
    assert "REJECTED" in out


def test_a_working_folder_that_was_removed_is_named(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    leave = f"import gate.cli.cli; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    code, out, err = in_a_process(leave + command_line("candidates"))
    assert (code, out) == (69, "")
    assert err == (
        "kernel-gate: the working folder cannot be used (No such file or directory); cd to a folder that exists\n"
    )


@full
@pytest.mark.parametrize("arguments", [("--help",), ("candidates",), GATE])
def test_output_that_cannot_be_written_is_one_line_and_the_machines_fault(arguments):
    with open("/dev/full", "w") as nowhere:  # noqa: PTH123
        code, _, err = in_a_process(command_line(*arguments), stdout=nowhere)
    assert code == 69
    assert err.splitlines() == [
        "kernel-gate: standard output, or a process: No space left on device; free some space there"
    ]


@full
def test_errors_that_cannot_be_written_change_no_exit_code():
    with open("/dev/full", "w") as nowhere:  # noqa: PTH123
        code, _, _ = in_a_process(command_line("gate", "--cand", "/nowhere"), stderr=nowhere)
    assert code == 64


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_file_that_finds_no_room_does_not_take_the_verdict_from_the_terminal(option, tmp_path):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, 1 << 14))\n"
    code, out, err = in_a_process(limit + command_line(*GATE, option, tmp_path / "lost"))
    assert code == 69
    assert err.startswith(f"kernel-gate: cannot write {tmp_path / 'lost'}: File too large; raise the file size limit")
    assert not (tmp_path / "lost").exists()
    assert option == "--report" or "REJECTED" in out  # a page that is asked for is tried before judging


def test_a_command_that_measures_looks_for_room_first(kernel_gate, monkeypatch, tmp_path):
    def full_disk(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("gate.storage._temporary_beside", lambda path: full_disk(path, ""))
    monkeypatch.setattr("gate.sandbox.client._start", lambda: pytest.fail("a server was started"))
    answer = kernel_gate("measure-candidate", "--impl", "cpu_tiled", "--device", "cpu", "--out", tmp_path / "a.json")
    assert answer.code == 69
    assert f"cannot write {tmp_path / 'a.json'}: No space left on device; free some space there" in answer.complaint


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EROFS, errno.EAGAIN, errno.ENOMEM])
def test_an_error_of_the_machine_is_one_line_wherever_it_comes_from(number, kernel_gate, monkeypatch):
    def fail(*_):
        raise OSError(number, os.strerror(number), "/some/where")

    monkeypatch.setattr("gate.doctor.availability.list_candidates", fail)
    answer = kernel_gate("candidates")
    assert answer.code == 69
    assert answer.complaint.startswith(f"kernel-gate: /some/where: {os.strerror(number)}; ")


def test_an_error_that_is_not_the_machines_is_a_fault_of_kernel_gate(kernel_gate, monkeypatch):
    def fail(*_):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/some/where")

    monkeypatch.setattr("gate.doctor.availability.list_candidates", fail)
    answer = kernel_gate("candidates")
    assert (answer.code, "Traceback" in answer.err) == (70, True)


@pytest.mark.parametrize(("arguments", "ended"), [(("candidates",), 0), (GATE, 1)])
def test_a_reader_that_leaves_changes_no_exit_code_and_loses_no_file(arguments, ended, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        code, _, err = in_a_process(command_line(*arguments, "--out", tmp_path / "file.json"), stdout=broken)
    assert (code, err) == (ended, "")
    assert (tmp_path / "file.json").exists()


@full
def test_output_that_cannot_be_written_takes_no_file(tmp_path):
    with open("/dev/full", "w") as nowhere:  # noqa: PTH123
        code, _, _ = in_a_process(command_line(*GATE, "--out", tmp_path / "run.json"), stdout=nowhere)
    assert code == 69
    assert (tmp_path / "run.json").exists()


def test_without_any_descriptor_a_command_ends_as_with_all_of_them(tmp_path):
    root = Path(__file__).parents[2]
    command = f"{sys.executable} -m gate.cli.cli candidates --out {tmp_path / 'list.json'} <&- >&- 2>&-; echo $?"
    done = subprocess.run(["sh", "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert '"cpu_tiled"' in (tmp_path / "list.json").read_text()


@pytest.mark.parametrize("section", ["candidates", "policy"])
def test_a_file_in_utf_8_is_read_whatever_the_locale_is(section, python_candidate, tmp_path):
    python_candidate("", summary='"einfach: größer, 速い"')
    policy = tmp_path / "gate.toml"
    policy.write_text("# größer\n[gates]\nalpha = 0.05\n", encoding="utf-8")
    arguments = {
        "candidates": ("candidates", "--kernels", tmp_path / "kernels"),
        "policy": (*GATE, "--policy", policy),
    }[section]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, out, err = in_a_process(command_line(*arguments), variables=ascii_only)
    assert (code, err) == ({"candidates": 0, "policy": 1}[section], "")
    assert {"candidates": "made_up", "policy": "REJECTED"}[section] in out
