"""The folder in which a candidate's own compilers keep what they make: one a run and candidate, and nobody else's."""

import json
import os
from pathlib import Path

import pytest

from gate.records import Status
from gate.sandbox import candidate_caches
from gate.sandbox.client import WorkerServer
from gate.sandbox.confinement import MIN_ABI, landlock_abi
from gate.sandbox.job import make_job
from gate.sandbox.protocol import CHECK, TRACE, TraceRequest
from tests.support import examples
from tests.support.jobs import answers_in, check_request

PRINTS_SURROUNDINGS = "import json, os; print(json.dumps(dict(os.environ)))"


def run(server, code, path):
    """That Python file as a candidate's job: the last line that it printed."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    ending = server.call(CHECK, [check_request(path)], 60.0)
    assert ending.status is Status.OK, ending
    return ending.last_output_line or answers_in(ending)[0]["message"]


def surroundings(server, path):
    return json.loads(run(server, PRINTS_SURROUNDINGS, path))


@pytest.fixture
def source(tmp_path):
    return tmp_path / "kernel.py"


def test_every_compilers_cache_and_the_home_lie_in_one_folder_that_is_there(server, source):
    seen = surroundings(server, source)
    assert {seen[name].startswith(seen[candidate_caches.FOLDER]) for name in candidate_caches.PLACES} == {True}
    assert seen["HOME"] != os.environ.get("HOME")
    made = run(
        server,
        f"import os; print(all(map(os.path.isdir, {[seen[name] for name in candidate_caches.PLACES]})))",
        source,
    )
    assert made == "True"


def test_what_one_process_keeps_the_next_one_of_the_same_candidate_finds(server, source):
    run(server, "import os; open(os.environ['TRITON_CACHE_DIR'] + '/made', 'w').write('once')", source)
    assert run(server, "import os; print(open(os.environ['TRITON_CACHE_DIR'] + '/made').read())", source) == "once"


def test_another_candidate_has_another_folder(server, tmp_path):
    first, second = (surroundings(server, tmp_path / name / "kernel.py") for name in ("a", "b"))
    assert first[candidate_caches.FOLDER] != second[candidate_caches.FOLDER]


@pytest.mark.skipif(landlock_abi() < MIN_ABI, reason="this kernel has no Landlock of ABI 2")
def test_another_candidates_folder_and_the_users_home_cannot_be_written(server, tmp_path):
    others = surroundings(server, tmp_path / "a" / "kernel.py")[candidate_caches.FOLDER]
    home = os.path.expanduser("~")  # noqa: PTH111  # as gate/sandbox/confinement.py
    for folder in (others, home, f"{home}/.triton", f"{home}/.nv", f"{home}/.cache"):
        if Path(folder).is_dir():
            said = run(server, f"open({folder!r} + '/planted', 'w')", tmp_path / "b" / "kernel.py")
            assert said.startswith("raised PermissionError"), folder


def test_the_folder_is_gone_with_the_run_and_a_later_one_starts_with_nothing(source):
    folders = set()
    for _ in range(2):
        with WorkerServer(examples.limits()) as server:
            folders.add(folder := surroundings(server, source)[candidate_caches.FOLDER])
            assert Path(folder).is_dir()
        assert not Path(folder).parent.exists()
    assert len(folders) == 2


def test_a_job_without_a_candidate_has_none(tmp_path, monkeypatch):
    monkeypatch.delenv(candidate_caches.FOLDER, raising=False)
    request = TraceRequest("cpu", examples.workload(), ("sdpa:flash",))
    job = make_job(TRACE, [request], 60.0, examples.limits(), str(tmp_path))
    assert candidate_caches.open_for(job.candidate, job.caches, on_cpu=job.on_cpu) == []
    assert candidate_caches.of_this_process() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("on_cpu", "chosen"), [(True, "1"), (False, None)])
def test_triton_interprets_on_a_cpu_alone(on_cpu, chosen, tmp_path):
    assert candidate_caches.variables(tmp_path, on_cpu).get("TRITON_INTERPRET") == chosen


def test_a_lock_that_a_killed_builder_left_is_gone_before_the_next_process_waits_for_it(server, source):
    left = "os.environ['TORCH_EXTENSIONS_DIR'] + '/py311_cpu/mine/lock'"
    run(server, f"import os; os.makedirs(os.path.dirname({left})); open({left}, 'w')", source)
    assert run(server, f"import os; print(os.path.exists({left}))", source) == "False"
