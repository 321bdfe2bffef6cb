"""What was said of an earlier commit is taken back where the head is not judged."""

import json

import pytest

from gate.github.marker import Marker, parse
from gate.records import Outcome
from gate.storage import write_record
from tests.github.conftest import HEAD, OLDER, PR, enter_job
from tests.support import examples
from tests.support.fake_github import Fault

NO_TAG = "the head commit's message has no [bench]"


@pytest.fixture
def withdraw(github, kernel_gate, tmp_path, monkeypatch):
    """Withdraws as the job of run `number`; returns what the command answered."""

    def call(*judged: str, reason: str = NO_TAG, number: int = 42):
        enter_job(monkeypatch, tmp_path, github, number)
        matrix = json.dumps({"include": [{"suite": each} for each in judged]}) if judged else ""
        monkeypatch.setenv("KERNEL_GATE_WITHDRAW_MATRIX", matrix)
        monkeypatch.setenv("KERNEL_GATE_WITHDRAW_REASON", reason)
        answer = kernel_gate("withdraw")
        assert answer.code == 0, answer.err
        return answer

    return call


def said_before(github, suite: str = "wmma@l4", **changes) -> dict:
    plain = {"suite": suite, "sha": OLDER, "run_id": 9041, "number": 41, "attempt": 1, "outcome": Outcome.PASS}
    return github.comment(PR, f"### ✅ PASS\n{Marker(**(plain | changes))}")


def test_a_pass_of_an_earlier_commit_is_edited_in_place_to_no_verdict_with_what_to_do(withdraw, github):
    said_before(github)
    assert withdraw().out.startswith("edited: withdrawn, because not of this commit: wmma@l4")
    (body,) = github.bodies(PR)
    assert body.startswith("### 🔧 NO VERDICT")
    assert NO_TAG in body
    assert "put `[bench]` into the message" in body
    assert "Run workflow" in body
    assert parse(body) == Marker("wmma@l4", HEAD, 9042, 42, 1, Outcome.ENVIRONMENT)


def test_where_nothing_was_said_nothing_is_written(withdraw, github, tmp_path):
    github.comment(PR, "a remark", author="somebody")
    assert withdraw().out.startswith("kept: ")
    assert github.writes() == []
    assert "no comment on an earlier commit to withdraw" in (tmp_path / "summary.md").read_text()


def test_a_plan_that_failed_withdraws_too(withdraw, github):
    said_before(github)
    withdraw(reason="")
    assert "its failed job shows the reason" in github.bodies(PR)[0]


def test_a_verdict_on_this_very_commit_stays(withdraw, github):
    said_before(github, sha=HEAD)
    assert withdraw().out.startswith("kept: ")
    assert github.writes() == []


def test_a_suite_that_is_judged_now_is_left_to_its_own_comment(withdraw, github):
    said_before(github, "wmma@l4")
    said_before(github, "triton@l4")
    withdraw("wmma@l4")
    assert [parse(body).outcome for body in github.bodies(PR)] == [Outcome.PASS, Outcome.ENVIRONMENT]


def test_of_a_suites_comments_the_folded_ones_are_left_alone(withdraw, github):
    said_before(github, number=40)
    said_before(github, outcome=Outcome.REJECTED)
    withdraw()
    assert [parse(body).number for body in github.bodies(PR)] == [40, 42]


def test_what_a_newer_run_wrote_stays(withdraw, github):
    said_before(github, number=43)
    assert withdraw().out.startswith("kept: ")


def test_a_comment_of_somebody_else_is_not_touched(withdraw, github):
    theirs = said_before(github)
    theirs["user"] = {"login": "mallory", "id": 2, "type": "User"}
    assert withdraw().out.startswith("kept: ")


@pytest.mark.parametrize(("sha", "state"), [(OLDER, "open"), (HEAD, "closed")])
def test_a_pull_request_that_moved_on_or_was_closed_is_left_alone(sha, state, withdraw, github):
    said_before(github, sha="f" * 40)
    github.pull(PR, sha, state=state)
    assert withdraw().out.startswith("kept: ")
    assert github.writes() == []


def test_a_comment_that_people_deleted_meanwhile_is_not_written_again(withdraw, github):
    old = said_before(github)
    github.before.append(("PATCH", lambda: old.update(deleted=True)))
    withdraw()
    assert github.bodies(PR) == []


def test_a_token_that_may_only_read_is_said_and_ends_nothing(withdraw, github, tmp_path):
    said_before(github)
    github.writers = ()
    assert "pull-requests: write" in withdraw().out
    assert "pull-requests: write" in (tmp_path / "summary.md").read_text()


def test_a_pull_request_that_cannot_be_read_is_said(withdraw, github):
    github.faults.append(Fault(404, "Not Found", on="/pulls/"))
    assert withdraw().out.startswith("refused: ")


def test_words_of_the_plan_are_text_and_no_markdown(withdraw, github):
    said_before(github)
    withdraw(reason="[here](https://evil.test) <img> @octo")
    assert not any(mark in github.bodies(PR)[0] for mark in ("](https://evil", "<img>", "@octo"))


@pytest.mark.parametrize("matrix", ["x", "[]", '{"include": 3}', '{"include": [{}]}'])
def test_what_is_not_the_plans_matrix_is_64(matrix, github, kernel_gate):
    assert kernel_gate("withdraw", "--matrix", matrix).code == 64
    assert github.requests == []


def test_a_verdict_that_comes_after_it_takes_its_place(withdraw, github, kernel_gate, tmp_path, monkeypatch):
    said_before(github, "honest@cpu")
    withdraw()
    enter_job(monkeypatch, tmp_path, github, 43)
    write_record(tmp_path / "cand.json", examples.measurement())
    assert kernel_gate("comment", "--cand", tmp_path / "cand.json").out.startswith("edited: ")
    (body,) = github.bodies(PR)
    assert parse(body).outcome is Outcome.PASS
