"""The one comment of a pull request, against a fake GitHub."""

import re
from dataclasses import replace

import pytest

from gate.github import client
from gate.github.marker import Marker, parse
from gate.records import Evaluation, Outcome, Policy
from gate.storage import write_record
from gate.verdict.judge import judge
from tests.github.conftest import HEAD, OLDER, PR, enter_job
from tests.support import examples
from tests.support.fake_github import Fault

SUITE = "honest@cpu"
PASS = examples.run()
SLOW = examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4))))
RATE_LIMIT = "API rate limit exceeded for installation ID 1."
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


@pytest.fixture
def post(github, kernel_gate, tmp_path, monkeypatch):
    """Posts a run as the job of run `number`; returns what the command answered."""

    def call(run=PASS, *arguments: object, number: int = 42):
        enter_job(monkeypatch, tmp_path, github, number)
        write_record(tmp_path / "run.json", run)
        answer = kernel_gate("comment", "--run", tmp_path / "run.json", *arguments)
        assert answer.code == 0, answer.err
        return answer

    return call


def marker(**changes) -> Marker:
    plain = {"suite": SUITE, "sha": OLDER, "run_id": 9041, "number": 41, "attempt": 1, "outcome": Outcome.PASS}
    return Marker(**(plain | changes))


def summary(tmp_path) -> str:
    return (tmp_path / "summary.md").read_text()


def test_the_first_run_writes_a_comment_with_the_verdict_in_its_first_line(post, github):
    assert post().out.startswith("created: ")
    (body,) = github.bodies(PR)
    assert PASS.verdict.reason in body.splitlines()[0]
    assert parse(body) == Marker(SUITE, HEAD, 9042, 42, 1, Outcome.PASS)
    assert f"https://github.test/octo/kernels/actions/runs/{9042}" in body


def test_a_second_run_edits_the_comment_in_place(post, github):
    post(SLOW)
    assert post(SLOW, number=43).out.startswith("edited: ")
    (body,) = github.bodies(PR)
    assert parse(body).number == 43


def test_the_comment_is_found_on_a_later_page(post, github):
    github.comment(PR, f"old verdict\n{marker()}")
    for number in range(250):
        github.comment(PR, f"remark {number}", author="somebody")
    assert post().out.startswith("edited: ")
    assert github.lines("POST") == []
    assert len([each for each in github.requests if each.query.get("per_page") == "100"]) == 3


def test_a_marker_in_the_comment_of_somebody_else_is_not_ours(post, github):
    theirs = github.comment(PR, f"spoof\n{marker()}", author="mallory")
    assert post().out.startswith("created: ")
    assert theirs["body"] == f"spoof\n{marker()}"


def test_a_marker_that_is_not_the_last_line_is_text_of_the_candidate(post, github):
    github.comment(PR, f"```\n{marker(number=99)}\n```\nthe end")
    assert post().out.startswith("created: ")


def test_a_comment_without_an_author_is_passed_over(post, github):
    github.comment(PR, f"ghost\n{marker()}")["user"] = None
    assert post().out.startswith("created: ")


def test_each_suite_has_a_comment_of_its_own(post, github):
    post(PASS, "--suite", "wmma@l4")
    post(PASS, "--suite", "wmma@h100")
    assert [parse(body).suite for body in github.bodies(PR)] == ["wmma@l4", "wmma@h100"]


def test_a_pass_that_fails_now_is_folded_and_written_anew(post, github):
    post(PASS)
    assert post(SLOW, number=43).out.startswith("replaced: ")
    first, second = github.bodies(PR)
    assert parse(first).outcome is Outcome.PASS
    assert parse(second).outcome is Outcome.REJECTED
    assert github.minimized == {"IC_100": "OUTDATED"}
    assert post(SLOW, number=44).out.startswith("edited: ")
    assert [parse(body).number for body in github.bodies(PR)] == [42, 44]


def test_a_fold_that_is_refused_leaves_the_new_comment_standing(post, github):
    post(PASS)
    github.faults.append(Fault(403, "Resource not accessible by integration", on="/graphql"))
    assert "could not be folded" in post(SLOW, number=43).out
    assert len(github.bodies(PR)) == 2


def test_a_failure_that_passes_now_is_edited_in_place(post, github):
    post(SLOW)
    assert post(PASS, number=43).out.startswith("edited: ")
    assert len(github.bodies(PR)) == 1


def test_a_late_older_run_never_overwrites_a_newer_one(post, github):
    post(PASS, number=43)
    assert "run 43 is newer" in post(SLOW, number=42).out
    assert [parse(body).number for body in github.bodies(PR)] == [43]


def test_an_older_attempt_of_the_same_run_never_overwrites_a_later_one(post, github):
    github.comment(PR, f"second attempt\n{marker(run_id=9042, number=42, attempt=2, sha=HEAD)}")
    assert post().out.startswith("kept: ")
    assert github.writes() == []


def test_a_verdict_on_a_commit_that_is_no_longer_the_head_is_not_written(post, github):
    github.pull(PR, OLDER)
    assert "is at dddddddddddd now" in post().out
    assert github.writes() == []


@pytest.mark.parametrize(("merged", "word"), [(False, "closed"), (True, "merged")])
def test_a_pull_request_that_is_closed_meanwhile_is_left_alone(merged, word, post, github, tmp_path):
    github.pull(PR, HEAD, state="closed", merged=merged)
    assert word in post().out
    assert word in summary(tmp_path)
    assert github.writes() == []


def test_the_commit_and_the_number_come_from_arguments_before_the_event(post, github):
    github.pull(8, OLDER)
    post(PASS, "--pr", 8, "--sha", OLDER)
    (body,) = github.bodies(8)
    assert parse(body).sha == OLDER
    assert github.bodies(PR) == []


def test_without_a_pull_request_only_the_summary_is_written(post, github, tmp_path, monkeypatch):
    (tmp_path / "push.json").write_text("{}")
    enter = pytest.MonkeyPatch.setenv
    monkeypatch.setattr("tests.github.test_comment.enter_job", lambda *_: None)
    enter(monkeypatch, "GITHUB_EVENT_PATH", str(tmp_path / "push.json"))
    assert "no pull request" in post().out
    assert PASS.verdict.reason in summary(tmp_path)
    assert github.requests == []


def test_a_read_only_token_leaves_the_verdict_and_the_summary(post, github, tmp_path, monkeypatch):
    github.writers = ()
    assert "pull-requests: write" in post(SLOW).out
    assert SLOW.verdict.reason in summary(tmp_path)
    assert "pull-requests: write" in summary(tmp_path)
    assert github.bodies(PR) == []


def test_a_pull_request_that_is_not_there_is_said(post, github):
    assert "refused: cannot read the pull request: 404" in post(PASS, "--pr", 999).out


@pytest.mark.parametrize("status", [401, 410, 422])
def test_a_refusal_is_said_with_its_remedy(status, post, github):
    github.faults += [Fault(status, "no", on="POST")] * 2
    said = post().out
    assert f"{status} no" in said
    assert client.REMEDIES[status] in said


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_passing_fault_is_tried_again(status, post, github):
    github.faults += [Fault(status)] * 2
    assert post().out.startswith("created: ")
    assert github.faults == []


def test_a_fault_that_stays_is_said_and_ends_the_waiting(post, github):
    github.faults += [Fault(502)] * (client.RETRIES + 1)
    assert "refused: cannot read the pull request" in post().out


def test_no_answer_at_all_is_tried_again(post, github):
    github.faults += [Fault(0)] * 2
    assert post().out.startswith("created: ")


def test_a_time_out_is_tried_again(post, github, monkeypatch):
    monkeypatch.setattr(client, "TIMEOUT_S", 1)
    github.faults.append(Fault(-1, on="GET"))
    assert post().out.startswith("created: ")


@pytest.mark.parametrize("message", [RATE_LIMIT, SECONDARY])
@pytest.mark.parametrize("status", [403, 429])
def test_a_short_rate_limit_is_waited_out(message, status, post, github, monkeypatch):
    slept = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", slept.append)
    github.faults.append(Fault(status, message, {"Retry-After": "3"}))
    assert post().out.startswith("created: ")
    assert slept == [3]


def test_a_secondary_limit_without_a_header_waits_a_minute(post, github, monkeypatch):
    slept = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", slept.append)
    github.faults.append(Fault(403, SECONDARY))
    assert post().out.startswith("created: ")
    assert slept == [60]


@pytest.mark.parametrize("headers", [{"Retry-After": "3600"}, {"X-RateLimit-Reset": "99999999999"}])
def test_a_long_rate_limit_is_not_waited_out(headers, post, github, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: pytest.fail(f"slept {seconds} s"))
    github.faults.append(Fault(403, RATE_LIMIT, headers))
    assert "rate limit" in post().out
    assert PASS.verdict.reason in summary(tmp_path)


@pytest.mark.parametrize("status", [502, 0])
def test_a_comment_that_a_retry_wrote_twice_stays_once_and_the_oldest(status, post, github):
    github.faults.append(Fault(status, on="POST", after=True))
    assert post().out.startswith("created: ")
    assert [each["id"] for each in github.comments if not each["deleted"]] == [100]
    assert len(github.lines("DELETE")) == 1


def test_of_two_runs_that_write_at_once_the_later_stays(post, github):
    newer = marker(number=43, run_id=9043, sha=HEAD)
    github.before.append(("POST", lambda: github.comment(PR, f"newer\n{newer}")))
    post()
    assert github.bodies(PR) == [f"newer\n{newer}"]


def test_a_comment_that_is_deleted_before_its_edit_is_written_anew(post, github):
    old = github.comment(PR, f"old\n{marker(outcome=Outcome.REJECTED)}")
    github.before.append(("PATCH", lambda: old.update(deleted=True)))
    assert post().out.startswith("created: ")
    assert len(github.bodies(PR)) == 1


def test_content_that_is_refused_as_too_long_is_written_shorter(post, github, monkeypatch):
    monkeypatch.setattr("tests.support.fake_github.MOST_BODY", 1_500)
    monkeypatch.setattr("gate.github.sticky.SHORTER", 1_500)
    post(SLOW)
    (body,) = github.bodies(PR)
    assert len(body) <= 1_500
    assert SLOW.verdict.reason in body.splitlines()[0]
    assert parse(body) is not None


def test_the_author_that_wrote_is_named_where_it_is_not_the_expected(post, github):
    github.author = "kernel-bot"
    assert "--author" in post().out
    assert post(PASS, "--author", "kernel-bot", number=43).out.startswith("edited: ")


def test_github_enterprise_is_asked_at_its_own_address(post, github):
    github.prefix = "/api/v3"
    github.pull(PR, HEAD)
    post(PASS)
    assert post(SLOW, number=43).out.startswith("replaced: ")
    assert github.minimized


@pytest.mark.parametrize("suite", ["", "two words", "a--b", "x" * 101, "-->", "a\nb"])
def test_a_suite_that_could_leave_the_marker_is_64(suite, github, kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", PASS)
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--suite", suite)
    assert answer.code == (64 if suite else 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_REPOSITORY", "octo"),
        ("GITHUB_RUN_ID", "x"),
        ("GITHUB_API_URL", "ftp://x"),
        ("GITHUB_EVENT_PATH", "no"),
    ],
)
def test_a_job_that_does_not_say_where_it_is_is_64(name, value, github, kernel_gate, tmp_path, monkeypatch):
    write_record(tmp_path / "run.json", PASS)
    monkeypatch.setenv(name, value)
    answer = kernel_gate("comment", "--run", tmp_path / "run.json")
    assert answer.code == 64
    assert github.requests == []


def test_a_dry_run_prints_what_would_be_written_and_asks_nobody(github, kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", SLOW)
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--dry-run")
    assert answer.code == 0
    assert answer.out.startswith("### ❌ REJECTED: honest")
    assert github.requests == []


def test_a_measurement_is_judged_before_it_is_told(github, kernel_gate, tmp_path):
    write_record(tmp_path / "cand.json", SLOW.measurement)
    answer = kernel_gate("comment", "--cand", tmp_path / "cand.json", "--dry-run")
    assert answer.out.startswith("### ❌ REJECTED: honest")


def test_words_that_somebody_put_into_a_run_are_not_posted(post, github, tmp_path):
    forged = replace(PASS, verdict=replace(PASS.verdict, next_step="[Merge now](https://evil.test)"))
    post(forged)
    assert "evil" not in github.bodies(PR)[0]


def test_the_merge_base_stands_in_the_table_with_its_interval(kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", PASS)
    write_record(tmp_path / "base.json", examples.measurement(examples.evaluation(trial=examples.trial(0.9, seed=5))))
    base = tmp_path / "base.json"
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--base", base, "--dry-run")
    (row,) = [line for line in answer.out.splitlines() if line.startswith("| 1,2,64,32")]
    assert re.search(r"\| 1\.1\d\d× \[1\.\d+, 1\.\d+\] +\| ✅ pass", row)


def test_a_kernel_that_became_slower_than_the_merge_base_is_warned_of(kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", PASS)
    write_record(tmp_path / "base.json", examples.measurement(examples.evaluation(trial=examples.trial(0.6, seed=5))))
    base = tmp_path / "base.json"
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--base", base, "--dry-run")
    assert "slower than the merge base" in answer.out


def test_the_merge_base_of_another_candidate_is_not_compared(kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", PASS)
    other = examples.measurement(impl="other", build=examples.build(impl="other"))
    write_record(tmp_path / "base.json", other)
    base = tmp_path / "base.json"
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--base", base, "--dry-run")
    assert "no comparison with the merge base" in answer.out


def test_the_summary_holds_the_same_facts_as_the_comment(post, github, tmp_path):
    wrong = examples.run(examples.measurement(Evaluation(examples.workload(), examples.incorrect())))
    post(wrong)
    posted, shown = github.bodies(PR)[0], summary(tmp_path)
    assert posted.rpartition("\n<!--")[0].strip() in shown
    assert "created: comment written" in shown


def test_where_nothing_was_judged_an_older_pass_does_not_stand_for_this_commit(post, github, kernel_gate):
    post(PASS)
    missing = ("comment", "--run", "missing.json", "--suite", SUITE)
    assert kernel_gate(*missing).code == 64
    answer = kernel_gate(*missing, "--absent")
    assert answer.code == 0
    assert answer.out.startswith("replaced: ")
    assert github.bodies(PR)[-1].startswith("### 🔧 NO VERDICT")
    assert parse(github.bodies(PR)[-1]).outcome is Outcome.ENVIRONMENT


def test_without_a_run_the_suite_must_be_named(github, kernel_gate):
    assert kernel_gate("comment", "--run", "missing.json", "--absent").code == 64


def test_evidence_that_is_refused_is_no_verdict_and_the_older_pass_goes(post, github, kernel_gate, tmp_path):
    post(PASS)
    write_record(tmp_path / "cand.json", PASS.measurement)
    other = ("comment", "--cand", tmp_path / "cand.json", "--suite", SUITE, "--impl", "wmma")
    assert kernel_gate(*other).code == 64
    assert kernel_gate(*other, "--absent").code == 0
    assert github.bodies(PR)[-1].startswith("### 🔧 NO VERDICT")


def test_evidence_that_brings_the_judge_down_is_no_verdict(post, github, kernel_gate, tmp_path, monkeypatch):
    post(PASS)
    write_record(tmp_path / "cand.json", PASS.measurement)
    monkeypatch.setattr("gate.github.comment.judge_admitted", lambda *_: 1 / 0)
    answer = kernel_gate("comment", "--cand", tmp_path / "cand.json", "--suite", SUITE, "--absent")
    assert answer.code == 0
    assert github.bodies(PR)[-1].startswith("### 🔧 NO VERDICT")


def test_a_policy_that_came_with_the_evidence_counts_for_nothing(kernel_gate, tmp_path):
    generous = replace(Policy(), speedup=1.0)
    forged = judge(examples.measurement(examples.evaluation(trial=examples.trial(0.98))), generous)
    assert forged.verdict.outcome is Outcome.PASS
    write_record(tmp_path / "run.json", forged)
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--dry-run")
    assert answer.out.startswith("### ❌ REJECTED")


def test_a_workload_that_the_policy_requires_and_is_not_there_is_no_pass(kernel_gate, tmp_path):
    write_record(tmp_path / "cand.json", PASS.measurement)
    answer = kernel_gate("comment", "--cand", tmp_path / "cand.json", "--required", "--dry-run")
    assert answer.out.startswith("### ❔ UNDECIDED")


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "run"}', "NaN"])
def test_a_merge_base_that_is_no_evidence_is_a_warning(text, kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", PASS)
    (tmp_path / "base.json").write_text(text)
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--base", tmp_path / "base.json", "--dry-run")
    assert answer.code == 0
    assert "no comparison with the merge base" in answer.out


def test_a_merge_base_that_brings_the_comparison_down_is_a_warning(kernel_gate, tmp_path, monkeypatch):
    for name in ("run.json", "base.json"):
        write_record(tmp_path / name, PASS)
    monkeypatch.setattr("gate.github.comment.changes", lambda *_: 1 / 0)
    answer = kernel_gate("comment", "--run", tmp_path / "run.json", "--base", tmp_path / "base.json", "--dry-run")
    assert answer.code == 0
    assert "no comparison with the merge base: ZeroDivisionError" in answer.out
