"""The fork server, with real processes: what a job sees, how it is ended, and what it leaves behind."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gate.errors import GateError, UnfitEnvironmentError
from gate.machine.programs import ALLOWED_ENVIRONMENT, stripped_environment
from gate.records import Environment, Status
from gate.sandbox import candidate_caches
from gate.sandbox.client import WorkerServer
from gate.sandbox.job import Exit, JobKind
from gate.sandbox.job_memory import children
from gate.sandbox.protocol import CHECK, EnvironmentRequest
from tests.support import examples
from tests.support.jobs import answers_in, python_job
from tests.support.processes import alive, eventually, patiently

LEAVES_A_DAEMON = """
import os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {daemon}
        os.write(write, str(os.getpid()).encode())
        while True:
            time.sleep(60)
    os._exit(0)
left = int(os.read(read, 20))
"""
LEAVES_A_CHILD = LEAVES_A_DAEMON.replace("os.setsid()\n    if os.fork() == 0:", "if True:")
TELLS = "\nprint('left', left, flush=True)\n"
IGNORES_SIGNALS = """
import signal
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
"""
FOREVER = "\nwhile True: pass\n"
SET_BY_THE_GATE = set(stripped_environment({}))
TAKES_MEMORY = "held = b'x' * (900 << 20)"


@pytest.fixture
def running(server, tmp_path) -> Callable[..., Exit]:
    """Runs Python code as a job, and says how it ended."""

    def run(code: str, seconds: float = 60.0) -> Exit:
        return server.call(*python_job(tmp_path, code), seconds)

    return run


def test_a_job_answers(running):
    ending = running("def attention(q, k, v, scale, causal, out): pass")
    assert ending.status is Status.OK
    assert answers_in(ending)[0]["status"] == "incorrect"


def test_a_job_sees_no_variable_that_is_not_allowed(running):
    assert "KERNEL_GATE_CACHE" in os.environ
    seen = json.loads(running("import json, os; print(json.dumps(dict(os.environ)))").last_output_line)
    assert "KERNEL_GATE_CACHE" not in seen
    made_on_the_way = {"LC_CTYPE", "PYTORCH_NVML_BASED_CUDA_CHECK", *candidate_caches.variables(Path(), on_cpu=True)}
    assert set(seen) <= {*ALLOWED_ENVIRONMENT, *SET_BY_THE_GATE, *made_on_the_way}


def test_every_job_is_a_fresh_process(running):
    code = "import os, torch; print(os.getpid(), hasattr(torch, 'spoiled')); torch.spoiled = True"
    (first, clean), (second, still_clean) = (running(code).last_output_line.split() for _ in range(2))
    assert first != second
    assert clean == still_clean == "False"


def test_a_job_finds_ready_what_every_job_needs(running):
    """A check needs no plan: that its reader is there shows that the server made it."""
    code = "from gate.records import codec; from gate.sandbox.protocol import ReplicateRequest as asked; "
    code += "print(tuple[asked, ...] in codec._adapters)"
    assert running(code).last_output_line == "True"


def test_a_job_leads_a_session_of_its_own(running):
    pid, group, session = running(
        "import os; print(os.getpid(), os.getpgid(0), os.getsid(0))"
    ).last_output_line.split()
    assert pid == group == session


LISTS_DESCRIPTORS = """
import os
for name in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{name}") or os.path.islink(f"/proc/self/fd/{name}"):
        print(os.readlink(f"/proc/self/fd/{name}"))
"""


def test_a_job_holds_no_pipe_but_that_of_its_reply(running):
    assert running(LISTS_DESCRIPTORS).output.count("pipe:") == 1


def test_a_job_reads_nothing_from_standard_input(running):
    assert running("import sys; print(repr(sys.stdin.read()))").last_output_line == "''"


def test_what_a_job_prints_is_kept_apart_from_its_answer(running):
    ending = running("print('hello', flush=True); import sys; print('world', file=sys.stderr)")
    assert ending.status is Status.OK
    assert "hello" in ending.output
    assert ending.last_output_line == "world"
    assert b"hello" not in ending.reply


def test_only_the_end_of_much_output_is_kept(running):
    ending = running("print('x' * 100_000); print('the end')")
    assert len(ending.output) <= 4000
    assert ending.last_output_line == "the end"


def test_output_that_is_not_text_is_kept_as_far_as_it_is(running):
    assert "kept" in running(r"import os; os.write(1, b'\xff\xfe kept\n')").output


def test_large_replies_arrive_whole(running):
    code = (
        "from gate.runtime import implementations as it\nit.MAX_ERROR_CHARS = 10**7\nraise OSError('x' * 5_000_000)"
    )
    assert len(answers_in(running(code))[0]["message"]) > 5_000_000


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_leaves_without_an_answer_has_crashed(code, running):
    ending = running(f"import os; os._exit({code})")
    assert ending.status is Status.CRASHED
    assert ending.message == f"exited with code {code} before it answered"


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_job_that_dies_of_a_signal_has_crashed_and_names_it(name, running):
    ending = running(f"import os, signal; os.kill(os.getpid(), signal.{name})")
    assert ending.status is Status.CRASHED
    assert ending.message == f"was ended by {name}"


@pytest.mark.parametrize("prelude", ["", IGNORES_SIGNALS], ids=["plainly", "ignoring signals"])
def test_a_job_that_does_not_end_is_killed(prelude, running):
    code = f"{prelude}\nimport os; print(os.getpid(), flush=True){FOREVER}"
    ending = patiently(lambda seconds: running(code, seconds), lambda ending: ending.output)
    assert ending.status is Status.TIMED_OUT
    assert not alive(int(ending.last_output_line))


def test_a_job_that_answered_and_does_not_leave_is_killed(running):
    code = "import threading, os, time\nreal = os._exit\nos._exit = lambda code: time.sleep(1000)"
    ending = patiently(lambda seconds: running(code, seconds), lambda ending: ending.reply)
    assert len(answers_in(ending)) == 1
    assert ending.status is Status.TIMED_OUT


@pytest.mark.parametrize(
    "code",
    [
        TAKES_MEMORY + FOREVER,
        LEAVES_A_CHILD.format(daemon=TAKES_MEMORY) + FOREVER,
        LEAVES_A_DAEMON.format(daemon=TAKES_MEMORY) + FOREVER,
    ],
    ids=["by itself", "in a child", "in a daemon"],
)
def test_a_job_that_takes_too_much_memory_is_killed(code, running):
    ending = running(code)
    assert ending.status is Status.OUT_OF_MEMORY
    assert ending.peak_bytes > 768 << 20


def test_memory_that_is_asked_for_and_not_touched_does_not_count(running):
    code = "import mmap, time; held = mmap.mmap(-1, 8 << 30); time.sleep(0.2)"
    assert running(code).status is Status.OK


def test_a_job_cannot_write_a_file_beyond_its_limit(running):
    ending = running("import tempfile; tempfile.TemporaryFile().truncate(65 << 20)")
    assert "File too large" in answers_in(ending)[0]["message"]


@pytest.mark.parametrize("leaves", [LEAVES_A_CHILD, LEAVES_A_DAEMON], ids=["a child", "a daemon that forked twice"])
@pytest.mark.parametrize("ends", ["", FOREVER, "os.kill(os.getpid(), 9)"], ids=["answering", "never", "by a signal"])
def test_whatever_a_job_leaves_is_killed(leaves, ends, running):
    code = leaves.format(daemon="") + TELLS + ends
    ending = patiently(
        lambda seconds: running(code, seconds if ends == FOREVER else 60.0), lambda ending: ending.output
    )
    left = int(re.search(r"left (\d+)", ending.output).group(1))
    assert not alive(left)


def test_the_server_goes_on_after_every_kind_of_end(running):
    endings = [running(code, seconds) for code, seconds in ((FOREVER, 0.3), ("import os; os._exit(9)", 60), ("", 60))]
    assert [ending.status for ending in endings] == [Status.TIMED_OUT, Status.CRASHED, Status.OK]


def test_garbage_on_every_descriptor_reaches_nobody_but_the_jobs_own_reply(running):
    code = "import os\nfor n in range(3, 64):\n try: os.write(n, b'{}\\n')\n except OSError: pass\nos._exit(0)"
    assert running(code).reply == b"{}\n"
    assert answers_in(running(""))[0]["status"] == "crashed"


def test_a_job_that_is_unknown_has_crashed(server):
    ending = server.call(JobKind("nonsense", EnvironmentRequest, Environment), [EnvironmentRequest("cpu")], 60.0)
    assert ending.status is Status.CRASHED
    assert "nonsense" in ending.last_output_line


def test_a_server_must_be_started():
    with pytest.raises(GateError, match="context manager"):
        WorkerServer(examples.limits()).call(CHECK, [], 1.0)


def test_leaving_the_context_ends_the_server():
    with WorkerServer(examples.limits()) as server:
        pid = server.start()._server.process.pid
        assert alive(pid)
    assert not alive(pid)


def test_a_job_whose_server_is_killed_has_crashed_and_the_next_has_a_new_one(tmp_path):
    with WorkerServer(examples.limits()) as server, ThreadPoolExecutor(1) as pool:
        called = pool.submit(server.call, *python_job(tmp_path, FOREVER), 600.0)
        assert eventually(lambda: server._server and children(server._server.process.pid)), "the job did not start"
        server._server.process.kill()
        ending = called.result()
        assert ending.status is Status.CRASHED
        assert "the server that ran it" in ending.message
        assert server.call(*python_job(tmp_path, "pass"), 60.0).status is Status.OK
        server._server.process.kill()  # while it has no job: that is laid to none
        server._server.process.wait()
        assert server.call(*python_job(tmp_path, "pass"), 60.0).status is Status.OK
        left = Path(server._root_of_caches())
        assert len(list(left.glob("kg-*"))) == 1  # of the first job, whose server had no time to remove it
    assert not left.exists()


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("raise ImportError('libcudart.so: cannot open')", "ImportError: libcudart.so: cannot open; see whether"),
        ("raise ModuleNotFoundError('No module named x')", "No module named x; install Kernel Gate's dependencies"),
        ("import os; os.kill(os.getpid(), 9)", "did not start: it was ended by SIGKILL; see whether"),
        ("import os; os._exit(3)", "did not start: it exited with code 3; see whether"),
    ],
    ids=["torch is broken", "something is not installed", "killed", "silent"],
)
def test_a_server_that_does_not_start_says_why_and_is_no_crash_of_a_job(torch, said, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(torch)
    monkeypatch.syspath_prepend(tmp_path)
    with WorkerServer(examples.limits()) as server, pytest.raises(UnfitEnvironmentError) as error:
        server.call(*python_job(tmp_path, "pass"), 60.0)
    assert said in str(error.value)
    assert "attack" not in str(error.value)


def test_a_server_whose_python_is_not_there_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    with (
        pytest.raises(UnfitEnvironmentError, match=r"no_python.*see whether"),
        WorkerServer(examples.limits()) as server,
    ):
        server.call(CHECK, [], 1.0)


def test_a_server_that_never_gets_ready_is_not_waited_for_without_end(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("gate.sandbox.client.START_S", 0.1)
    monkeypatch.setattr("gate.sandbox.client.EXIT_S", 0.1)
    with WorkerServer(examples.limits()) as server, pytest.raises(UnfitEnvironmentError, match="not ready after"):
        server.call(*python_job(tmp_path, "pass"), 60.0)


def test_a_server_that_fails_by_itself_is_a_fault_of_the_machine(tmp_path):
    with WorkerServer(examples.limits()) as server:
        server.call(*python_job(tmp_path, "pass"), 60.0)
        resource.prlimit(server._server.process.pid, resource.RLIMIT_NOFILE, (3, 3))
        with pytest.raises(UnfitEnvironmentError, match=r"failed: OSError: .*Too many open files"):
            server.call(*python_job(tmp_path, "pass"), 60.0)


PARENT = """
import sys
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import CHECK
from tests.support import examples, jobs
with WorkerServer(examples.limits()) as server:
    print(server.start()._server.process.pid, server._root_of_caches(), flush=True)
    server.call(CHECK, [jobs.check_request(sys.argv[1])], 600.0)
"""


def test_a_server_that_somebody_stopped_does_not_hang_the_gate(tmp_path, monkeypatch):
    monkeypatch.setattr("gate.sandbox.client.GRACE_S", 0.5)
    with WorkerServer(examples.limits()) as server:
        server.call(*python_job(tmp_path, "pass"), 60.0)  # it has torch imported from now on
        process = server._server.process
        os.kill(process.pid, signal.SIGSTOP)
        assert server.call(*python_job(tmp_path, "pass"), 1.0).status is Status.CRASHED
    assert process.returncode == -signal.SIGKILL


def test_the_server_its_job_and_its_daemons_end_when_the_parent_is_killed(tmp_path):
    """The parent has no chance to clean up: the server sees it hang up."""
    _, (request,) = python_job(tmp_path, LEAVES_A_DAEMON.format(daemon="") + FOREVER)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, request.candidate], stdout=subprocess.PIPE, text=True)
    with parent:
        pid, root = parent.stdout.readline().split()
        server = int(pid)
        assert eventually(lambda: len(children(server)) == 2), "the job, or its daemon, did not start"
        pids = [server, *children(server)]
        assert all(alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    assert eventually(lambda: not any(alive(pid) for pid in pids)), pids
    assert not Path(root).exists()


@pytest.mark.parametrize(
    ("state", "reply", "cause", "status", "message"),
    [
        (0, b"{}", None, Status.OK, None),
        (0, b"", None, Status.CRASHED, "exited with code 0 before it answered"),
        (256, b"{}", None, Status.CRASHED, "exited with code 1 before it answered"),
        (11, b"", None, Status.CRASHED, "was ended by SIGSEGV"),
        (11 | 0x80, b"{}", None, Status.CRASHED, "was ended by SIGSEGV"),
        (9, b"", "time", Status.TIMED_OUT, "did not end within 12 s and was killed"),
        (0, b"{}", "time", Status.TIMED_OUT, "did not end within 12 s and was killed"),
        (
            9,
            b"",
            "memory",
            Status.OUT_OF_MEMORY,
            "held 100 MB, more than its limit (limits.memory_mb), and was killed",
        ),
    ],
)
def test_an_ending_has_a_status_and_a_sentence(state, reply, cause, status, message):
    ending = Exit(reply, state, cause, seconds=12.3, peak_bytes=100 << 20, output="")
    assert ending.status is status
    if message is not None:
        assert ending.message == message


def test_last_words_are_the_last_line_that_says_something():
    assert Exit(b"", 0, None, 0.0, 0, "one\ntwo\n\n  \n").last_output_line == "two"
    assert Exit(b"", 0, None, 0.0, 0, "").last_output_line == ""
