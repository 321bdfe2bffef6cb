"""What a runner may do to a job half-way: end it, fill its disk, or hand it what an earlier job left."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gate.storage import write_record
from tests.e2e.actrun import runners_environment
from tests.support import examples
from tests.support.processes import alive, eventually

HANGS = ["--impl", "endless_loop", "--kernels", str(examples.ADVERSARIAL), "--device", "cpu", "--shape", "1,1,16,32"]


def kernel_gate(*arguments, **options):
    command = [sys.executable, "-m", "gate.cli.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def children(pid: int) -> set[int]:
    """The processes that this one started, as far as they can be seen at once."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return set()
    return {int(each) for text in lists for each in text.split()}


def jobs(pid: int) -> set[int]:
    """What the servers of this command run: a server itself has used time too, importing torch."""
    return {job for server in children(pid) for job in children(server)}


def computes(pid: int) -> bool:
    """Whether this is the candidate's process, in its endless loop: it has used time, and waits for nothing."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "R" and int(fields[11]) > 30  # user time in clock ticks


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_job_that_is_ended_half_way_leaves_no_process_and_no_file(number, tmp_path):
    out = tmp_path / "cand.json"
    process = kernel_gate("measure-candidate", *HANGS, "--set", "limits.check_s=600", "--out", out)
    try:
        assert eventually(lambda: any(map(computes, jobs(process.pid)))), process.poll()
        below = children(process.pid) | jobs(process.pid)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert eventually(lambda: not any(map(alive, below)))
    finally:
        process.kill()
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []
    assert number is not signal.SIGINT or "interrupted; nothing was written" in said


def small_files_only():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))


def test_a_full_disk_is_one_clear_error_and_what_was_there_stays(tmp_path):
    cand, out = tmp_path / "cand.json", tmp_path / "run.json"
    write_record(cand, examples.measurement())
    out.write_text("older")
    process = kernel_gate("gate", "--cand", cand, "--out", out, preexec_fn=small_files_only)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 69
    assert said.splitlines()[-1].startswith(f"kernel-gate: cannot write {out}: ")
    assert out.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cand.json", "run.json"]


def test_what_an_earlier_job_left_is_not_taken_for_this_ones(tmp_path, bare_python):
    launch = Path(__file__).parents[2] / ".github" / "actions" / "launch.py"
    out = tmp_path / "cand.json"
    write_record(out, examples.measurement())
    given = {"KERNEL_GATE_PYTHON": str(bare_python), "IMPL": "no_such", "KERNEL_GATE_MEASURE_CANDIDATE_OUT": str(out)}
    command = [bare_python, "-I", str(launch), "measure-candidate"]
    environment = runners_environment() | given
    done = subprocess.run(command, cwd=examples.ADVERSARIAL.parents[2], env=environment, check=False)
    assert done.returncode == 2
    assert not out.exists()


def test_a_verdict_is_of_the_file_that_was_just_written_or_there_is_none(tmp_path):
    """The comment of a job whose measurement is missing says so, whatever lies about."""
    absent = tmp_path / "run.json"
    process = kernel_gate("comment", "--run", absent, "--absent", "--dry-run", "--suite", "wmma@l4")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "NO VERDICT" in said.splitlines()[0]
