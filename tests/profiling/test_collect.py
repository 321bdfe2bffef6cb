"""ncu as a subprocess: what it counts becomes profiles, and whatever goes wrong is named, with what to do."""

import os
import stat
import sys
from dataclasses import replace

import pytest

from gate.profiling.collect import open_profiler, profile_calls
from gate.profiling.ncu import Options, explain
from gate.profiling.ncu_target import launch_calls
from gate.profiling.protocol import Call, NcuAnswer, NcuRequest
from gate.records import Status, Workload
from gate.records.codec import to_json
from gate.runtime.device import open_device
from tests.support.processes import alive, eventually, patiently
from tests.support.profiles import FULL, LARGE, MIDDLE, SMALL

NCU = """\
#!/bin/sh
case "$1" in
  --version) echo 'Version 2025.3.1.0 (build 36398880)'; exit 0;;
  --query-metrics) touch {folder}/queried; cat {folder}/listed 2>/dev/null; exit 0;;
esac
echo "$@" >> {folder}/calls
env > {folder}/environment
while [ "$1" != --log-file ]; do shift; done
log=$2; shift 2
{body}
"""
PLAY = 'cp {folder}/recorded "$log"; "$@"'
"""What a working one does: the log, and the program under it."""
REFUSE = (
    "if [ ! -e {folder}/once ]; then touch {folder}/once; "
    'echo "==ERROR== Failed to find metric sm__inst_executed_pipe_tensor.sum" > "$log"; exit 1; fi; ' + PLAY
)
"""One that refuses a metric, the first time."""
CALLS = tuple(Call("sdpa:flash", each) for each in (SMALL, MIDDLE, LARGE))
REQUEST = NcuRequest("cuda", CALLS, None, 64)
PERMISSION = (
    "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters"
)


@pytest.fixture
def ncu(server, tmp_path, monkeypatch):
    """Installs a program of that name, and a harness that says it made three calls."""

    def install(body=PLAY, recorded=None, answer=None, listed="", limit_s=20.0):
        text = FULL.read_text() if recorded is None else recorded
        (tmp_path / "recorded").write_text(text)
        (tmp_path / "listed").write_text(listed)
        path = tmp_path / "ncu"
        path.write_text(NCU.replace("{body}", body).replace("{folder}", str(tmp_path)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        said = to_json(answer or NcuAnswer(Status.OK, 3))
        harness = (sys.executable, "-c", f"print('noise'); print('kernel-gate: ' + {said!r})")
        opened = open_profiler(server, limit_s, Options())
        assert not isinstance(opened, str), opened
        return replace(opened, harness=harness)

    return install


def test_every_call_gets_its_own_kernels(ncu):
    small, middle, large = profile_calls(ncu(), REQUEST)
    assert [each.status for each in (small, middle, large)] == [Status.OK] * 3
    assert [len(each.kernels) for each in (small, middle, large)] == [2, 1, 1]
    assert large.kernels[0].counters["duration_ns"] == 69_856
    assert (large.tool, large.settings) == ("Nsight Compute 2025.3.1.0", "--cache-control all --clock-control none")
    assert large.missing == {"tensor_instructions": "reported without a number"}


def test_an_ncu_that_knows_all_that_is_asked_of_it_is_run_once(ncu, tmp_path):
    profile_calls(ncu(), REQUEST)
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert not (tmp_path / "queried").exists()


def test_what_this_version_does_not_know_is_missing_and_says_so(ncu, tmp_path):
    (small, *_) = profile_calls(ncu(REFUSE, listed="gpu__time_duration Counter ns time"), REQUEST)
    assert small.missing["tensor_instructions"] == "this version of Nsight Compute does not have the metric"
    asked = (tmp_path / "calls").read_text().splitlines()[1]
    assert "gpu__time_duration.sum" in asked
    assert "sm__pipe_tensor" not in asked


def test_an_ncu_is_asked_once_what_it_knows(ncu, tmp_path):
    profiler = ncu(REFUSE, listed="gpu__time_duration Counter ns time")
    profile_calls(profiler, REQUEST)
    (tmp_path / "queried").unlink()
    (small, *_) = profile_calls(profiler, REQUEST)
    assert small.missing["tensor_instructions"] == "this version of Nsight Compute does not have the metric"
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
    assert not (tmp_path / "queried").exists()


def test_the_call_is_named_range_cold_caches_and_no_clock_control(ncu, tmp_path):
    profile_calls(ncu(), REQUEST)
    asked = (tmp_path / "calls").read_text()
    for words in ("--nvtx-include kernel-gate/", "--cache-control all", "--clock-control none", "--print-units base"):
        assert words in asked


def test_the_environment_of_a_candidate_is_stripped(ncu, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    profile_calls(ncu(), REQUEST)
    assert "secret" not in (tmp_path / "environment").read_text()


def test_a_metric_that_is_refused_is_left_out_and_the_rest_is_counted(ncu, tmp_path):
    (small, *_) = profile_calls(ncu(REFUSE), REQUEST)
    assert small.measured
    again = (tmp_path / "calls").read_text().splitlines()[1]
    assert "sm__inst_executed_pipe_tensor_op_hmma.sum" in again
    assert "sm__inst_executed_pipe_tensor.sum" not in again


TROUBLES = {
    PERMISSION: (Status.ENVIRONMENT, "NVreg_RestrictProfilingToAdminUsers=0"),
    "==ERROR== Profiling failed because a driver resource was unavailable. Ensure that no other tool (like DCGM) is "
    "concurrently collecting profiling data.": (Status.ENVIRONMENT, "dcgmi profile --pause"),
    "==ERROR== Failed to open lock file /tmp/nsight-compute-lock": (Status.ENVIRONMENT, "set TMPDIR"),
    "==ERROR== Cuda driver is not compatible with Nsight Compute.": (Status.ENVIRONMENT, "update the driver"),
    "==WARNING== No kernels were profiled.": (Status.CRASHED, "the call itself must launch the kernel"),
    '==ERROR== Failed to profile "attend" in process 7': (Status.CRASHED, "cannot be replayed"),
    "==ERROR== The application returned an error code (11).": (Status.CRASHED, "kernel-gate run"),
}


@pytest.mark.parametrize("log", TROUBLES)
def test_a_failure_is_named_with_its_remedy(ncu, log):
    status, remedy = TROUBLES[log]
    seen = profile_calls(ncu('cp {folder}/recorded "$log"; exit 1', recorded=log), REQUEST)
    assert [each.status for each in seen] == [status] * 3
    assert all(remedy in each.message for each in seen)
    assert not any(each.kernels for each in seen)


def test_a_failure_of_no_known_kind_is_told_in_its_own_words(ncu):
    (seen, *_) = profile_calls(
        ncu('cp {folder}/recorded "$log"; exit 1', recorded="==ERROR== The moon is full."), REQUEST
    )
    assert seen.message.startswith("ncu failed: The moon is full.")


def test_ncu_that_crashes_without_a_word(ncu):
    (seen, *_) = profile_calls(ncu("kill -SEGV $$"), REQUEST)
    assert seen.status is Status.CRASHED
    assert "ncu failed" in seen.message


def test_a_call_that_launches_nothing(ncu):
    lines = FULL.read_text().splitlines(keepends=True)
    without = "".join(line for line in lines if "flash_fwd" not in line and not line.startswith("=="))
    seen = profile_calls(ncu(recorded=without), REQUEST)
    assert {each.message for each in seen} == {
        "the call launched no kernel; a kernel must be launched by the call itself"
    }


def test_a_call_that_fails_under_ncu_spoils_only_what_follows(ncu):
    answer = NcuAnswer(Status.CRASHED, 1, "attention() returned 2 (launch failed)")
    first, *others = profile_calls(ncu(answer=answer), REQUEST)
    assert first.measured
    assert all("attention() returned 2" in each.message for each in others)


def test_a_program_that_never_answers_leaves_the_calls_before_its_last(ncu):
    broken = 'cp {folder}/recorded "$log"; exit 9'
    assert [each.measured for each in profile_calls(ncu(broken), REQUEST)] == [True, True, True]
    cut = FULL.read_text().rsplit('"22"', 1)[0]  # the last call's kernel was not reached
    seen = profile_calls(ncu(broken, recorded=cut), REQUEST)
    assert [each.measured for each in seen] == [True, True, False]
    assert "could not profile a kernel" in seen[2].message


def test_a_call_that_was_counted_in_part_is_not_measured(ncu):
    cut = FULL.read_text().rsplit('"2","1000"', 1)[0]  # of two kernels, the first
    (seen,) = profile_calls(
        ncu('cp {folder}/recorded "$log"; exit 9', recorded=cut), replace(REQUEST, calls=CALLS[:1])
    )
    assert not seen.measured


def test_ncu_that_hangs_is_ended_with_all_it_started(ncu, tmp_path):
    hang = "(sleep 1000 & echo $! > {folder}/orphan); setsid sleep 1000 & echo $! > {folder}/child; wait"
    left = [tmp_path / name for name in ("orphan", "child")]
    (seen, *_) = patiently(
        lambda seconds: profile_calls(ncu(hang, limit_s=seconds), REQUEST),
        lambda _: all(path.exists() and path.read_text() for path in left),
    )
    assert seen.status is Status.TIMED_OUT
    assert "limits.profile_s" in seen.message
    for pid in [int(path.read_text()) for path in left]:
        assert eventually(lambda pid=pid: not alive(pid))


def test_without_ncu_the_reason_says_how_to_get_it(server, no_cuda_tools):
    said = open_profiler(server, 1.0, Options())
    assert isinstance(said, str)
    assert said.startswith("ncu is not installed; install Nsight Compute")


def test_ncu_that_does_not_run_says_so(server, tmp_path, monkeypatch):
    path = tmp_path / "ncu"
    path.write_text("#!/bin/sh\necho 'libfoo.so: cannot open shared object file' >&2; exit 127\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "libfoo.so" in str(open_profiler(server, 1.0, Options()))


def test_the_recorded_failure_is_explained():
    status, reason = explain(FULL.read_text()) or (None, "")
    assert status is Status.CRASHED
    assert reason.startswith("ncu could not profile a kernel")


def test_the_harness_makes_every_call_of_a_request():
    call = Call("sdpa:math", Workload(1, 2, 64, 32, "float32"))
    answer = launch_calls(NcuRequest("cpu", (call, call), None, 64), open_device("cpu"))
    assert answer == NcuAnswer(Status.OK, 2)


def test_the_harness_names_the_call_that_failed(python_candidate):
    folder = python_candidate("def attention(q, k, v, scale, causal, out):\n    raise ValueError('no')\n", "raises")
    call = Call("raises", Workload(1, 2, 64, 32, "float32"))
    request = NcuRequest("cpu", (call,), str(folder / "kernel.py"), 64)
    answer = launch_calls(request, open_device("cpu"))
    assert (answer.status, answer.done, answer.message) == (
        Status.CRASHED,
        0,
        "raised ValueError: no (kernel.py, line 2)",
    )
