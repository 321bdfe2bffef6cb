"""From events to what is measured; each event as GitHub sends it, less what nobody reads."""

import json
from dataclasses import replace

import pytest

from gate.settings.github import GithubSettings, Runner
from tests.github.conftest import HEAD, OLDER, PR

BASE, TIP, MERGE_BASE = "b" * 40, "c" * 40, "e" * 40
BENCH = "Make it faster [bench]"


@pytest.fixture
def repository(github):
    """Three candidates at every commit; `wmma` is what the policy names."""
    for sha in (HEAD, OLDER, TIP):
        github.trees[sha] = tuple(f"kernels/{name}/kernel.toml" for name in ("wmma", "triton", "cpu_tiled"))
        github.commit(sha, BENCH)
        github.merge_bases[sha] = MERGE_BASE
    github.compared[f"{OLDER}...{TIP}"] = ["kernels/triton/kernel.py"]
    github.permissions |= {"maintainer": "write", "owner": "admin", "reader": "read"}
    return github


@pytest.fixture
def plan(repository, kernel_gate, tmp_path, monkeypatch):
    """Plans an event; returns the command's answer and the job's outputs."""

    def call(name: str, payload: dict, *arguments: str, actor: str = "maintainer", again: str = ""):
        (tmp_path / "event.json").write_text(json.dumps(payload))
        (tmp_path / "output").write_text("")
        job = {"GITHUB_EVENT_NAME": name, "GITHUB_ACTOR": actor, "GITHUB_TRIGGERING_ACTOR": again or actor}
        for key, value in job.items():
            monkeypatch.setenv(key, value)
        answer = kernel_gate("plan", *arguments)
        lines = (tmp_path / "output").read_text().splitlines()
        return answer, dict(line.split("=", 1) for line in lines)

    return call


def push(message: str = BENCH, **changes) -> dict:
    head = {"id": TIP, "message": message}
    return {"head_commit": head, "before": OLDER, "repository": {"default_branch": "main"}, **changes}


def pull_request(fork: bool = False, event: dict | None = None, **changes) -> dict:
    ours, theirs = ({"repo": {"full_name": name}} for name in ("octo/kernels", "mallory/kernels"))
    head = {"sha": HEAD, **(theirs if fork else ours)}
    pull = {"number": PR, "head": head, "base": {"sha": BASE, **ours}, **changes}
    return {"pull_request": pull, "action": "synchronize", **(event or {})}


def dispatch(**inputs) -> dict:
    return {"inputs": {"IMPL": "", "pr": "", "sha": "", **inputs}}


def suites(outputs: dict) -> list[str]:
    return [each["suite"] for each in json.loads(outputs["matrix"])["include"]]


def test_a_push_with_the_tag_measures_the_candidates_that_it_changed(plan):
    answer, outputs = plan("push", push())
    assert answer.code == 0
    assert (outputs["measure"], suites(outputs), outputs["sha"]) == ("true", ["triton@l4"], TIP)
    assert outputs["merge-base"] == MERGE_BASE
    assert outputs["pr"] == ""


def test_the_runner_is_named_by_the_labels_of_the_policy(plan):
    _, outputs = plan("push", push())
    (suite,) = json.loads(outputs["matrix"])["include"]
    assert json.loads(suite["labels"]) == ["self-hosted", "gpu", "cuda", "l4"]
    assert suite["device"] == "cuda"


@pytest.mark.parametrize("payload", [push("no tag"), push(head_commit=None), push("bench")])
def test_a_push_without_the_tag_measures_nothing_and_owes_nothing(payload, plan, github):
    _, outputs = plan("push", payload)
    assert (outputs["measure"], outputs["owed"], suites(outputs)) == ("false", "false", [])
    assert github.requests == []


def test_a_push_is_of_all_its_commits_and_not_of_the_last_alone(plan, repository):
    repository.commit(TIP, BENCH, ("docs/x.md",))
    repository.compared[f"{OLDER}...{TIP}"] = ["kernels/triton/kernel.py", "docs/x.md"]
    assert suites(plan("push", push())[1]) == ["triton@l4"]


def test_the_first_push_of_a_branch_is_of_all_that_the_default_branch_does_not_have(plan, repository):
    repository.compared[f"main...{TIP}"] = ["kernels/cpu_tiled/attention.cpp"]
    assert suites(plan("push", push(before="0" * 40))[1]) == ["cpu_tiled@l4"]


def test_a_push_of_more_files_than_github_lists_measures_every_candidate(plan, repository):
    repository.compared[f"{OLDER}...{TIP}"] = [f"docs/{number}.md" for number in range(400)]
    assert suites(plan("push", push())[1]) == ["wmma@l4", "triton@l4", "cpu_tiled@l4"]


@pytest.mark.parametrize("files", [[], ["README.md"], ["kernels/README.md"]])
def test_a_push_that_changed_no_candidate_measures_the_policys(files, plan, repository):
    repository.compared[f"{OLDER}...{TIP}"] = files
    assert suites(plan("push", push())[1]) == ["wmma@l4"]


def test_a_push_on_the_default_branch_has_no_merge_base_but_itself(plan, repository):
    repository.merge_bases[TIP] = TIP
    assert plan("push", push())[1]["merge-base"] == ""


def test_a_pull_request_is_measured_where_its_head_commit_has_the_tag(plan, repository):
    repository.files[PR] = ["kernels/cpu_tiled/attention.cpp", "kernels/triton/kernel.py", "docs/x.md"]
    _, outputs = plan("pull_request", pull_request())
    assert suites(outputs) == ["cpu_tiled@l4", "triton@l4"]
    assert (outputs["sha"], outputs["pr"], outputs["merge-base"]) == (HEAD, str(PR), MERGE_BASE)


def test_the_message_is_that_of_the_head_commit_whatever_the_event_says(plan, repository):
    repository.commit(HEAD, "no tag")
    _, outputs = plan("pull_request", pull_request(title=BENCH, body=BENCH, head_commit={"message": BENCH}))
    assert outputs["measure"] == "false"


@pytest.mark.parametrize(("files", "owed"), [(["kernels/triton/kernel.py"], "true"), (["docs/x.md"], "false")])
@pytest.mark.parametrize("fork", [False, True])
def test_a_pull_request_that_changes_kernels_without_asking_owes_a_measurement(files, owed, fork, plan, repository):
    repository.commit(HEAD, "no tag")
    repository.files[PR] = files
    _, outputs = plan("pull_request", pull_request(fork))
    assert (outputs["measure"], outputs["owed"]) == ("false", owed)


@pytest.mark.parametrize("head", [{"repo": {"full_name": "mallory/kernels"}}, {"repo": None}])
def test_a_fork_is_never_measured_by_itself(head, plan, repository):
    repository.files[PR] = ["kernels/triton/kernel.py"]
    event = pull_request(fork=True)
    event["pull_request"]["head"] |= head
    _, outputs = plan("pull_request", event)
    assert (outputs["measure"], outputs["owed"]) == ("false", "true")
    assert "starts the workflow" in outputs["reason"]


def test_a_pull_request_with_more_files_than_github_lists_owes_a_measurement(plan, repository):
    repository.commit(HEAD, "no tag")
    repository.files[PR] = [f"docs/{number}.md" for number in range(3_000)]
    assert plan("pull_request", pull_request())[1]["owed"] == "true"


def test_a_kernel_that_was_moved_away_counts_as_changed(plan, repository):
    repository.commit(HEAD, "no tag")
    repository.files[PR] = ["elsewhere/kernel.py"]
    repository.renamed["elsewhere/kernel.py"] = "kernels/triton/kernel.py"
    assert plan("pull_request", pull_request())[1]["owed"] == "true"


def test_a_file_list_of_many_pages_is_read_to_its_end(plan, repository):
    repository.files[PR] = [f"docs/{number}.md" for number in range(250)] + ["kernels/triton/kernel.py"]
    assert suites(plan("pull_request", pull_request())[1]) == ["triton@l4"]


def candidates(repository, *names: str) -> None:
    """At the pull request's head, and all changed by it."""
    repository.files[PR] = [f"kernels/{name}/kernel.py" for name in names]
    repository.trees[HEAD] = tuple(f"kernels/{name}/kernel.toml" for name in names)


def test_many_changed_candidates_are_all_measured(plan, repository):
    names = [f"k{number}" for number in range(12)]
    candidates(repository, *names)
    assert suites(plan("pull_request", pull_request())[1]) == [f"{name}@l4" for name in names]


def test_more_measurements_than_can_wait_for_a_runner_are_64(plan, repository):
    candidates(repository, *(f"k{number}" for number in range(101)))
    answer, outputs = plan("pull_request", pull_request())
    assert answer.code == 64
    assert "fewer candidates" in answer.complaint
    assert outputs == {}


def test_a_source_that_candidates_share_means_all_that_the_runner_can_run(plan, repository):
    repository.files[PR] = ["kernels/softmax.cuh", "kernels/triton/kernel.py"]
    repository.texts["kernels/cpu_tiled/kernel.toml"] = 'devices = ["cpu"]'
    assert suites(plan("pull_request", pull_request())[1]) == ["triton@l4", "wmma@l4"]


def test_a_folder_beside_the_changed_ones_that_is_no_candidate_is_passed_over(plan, repository):
    repository.files[PR] = ["kernels/softmax.cuh"]
    repository.trees[HEAD] += ("kernels/my-notes/kernel.toml", "kernels/notes/x.py")
    assert suites(plan("pull_request", pull_request())[1]) == ["wmma@l4", "triton@l4", "cpu_tiled@l4"]


def test_a_candidate_that_was_deleted_is_not_looked_for(plan, repository):
    repository.files[PR] = ["kernels/gone/kernel.py", "kernels/gone/kernel.toml", "kernels/triton/kernel.py"]
    assert suites(plan("pull_request", pull_request())[1]) == ["triton@l4"]


def test_a_changed_candidate_that_no_runner_can_run_is_64(plan, repository):
    candidates(repository, "cpu_tiled")
    repository.texts["kernels/cpu_tiled/kernel.toml"] = 'devices = ["cpu"]'
    answer, outputs = plan("pull_request", pull_request())
    assert answer.code == 64
    assert "add one to [github]" in answer.complaint
    assert outputs == {}


@pytest.mark.parametrize("text", ["devices = 7", "devices", "x = " + "[" * 5_000])
def test_a_kernel_toml_that_cannot_be_read_is_left_to_the_measurement(text, plan, repository):
    candidates(repository, "broken")
    repository.texts["kernels/broken/kernel.toml"] = text
    assert suites(plan("pull_request", pull_request())[1]) == ["broken@l4"]


HOSTILE_NAMES = [
    "$(id)", "a;b", "a b", "..", "a\nb", "wmma@l4", "x" * 65, "ключ", "`id`", "a/b", "-x", "my-kernel",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_changed_folder_whose_name_is_no_candidates_is_64(name, plan, repository):
    candidates(repository, name)
    answer, outputs = plan("pull_request", pull_request())
    assert answer.code == 64
    assert "letters, digits and _" in answer.complaint
    assert outputs == {}


def test_a_changed_folder_without_a_kernel_toml_is_64(plan, repository):
    repository.files[PR] = ["kernels/fresh/kernel.py"]
    repository.trees[HEAD] += ("kernels/fresh/kernel.py",)
    answer, outputs = plan("pull_request", pull_request())
    assert answer.code == 64
    assert "give it a kernel.toml" in answer.complaint
    assert outputs == {}


def test_a_kernels_folder_that_github_does_not_list_whole_is_64(plan, repository):
    repository.files[PR] = ["kernels/softmax.cuh"]
    repository.trees[HEAD] = tuple(f"kernels/k{number}/kernel.toml" for number in range(1_000))
    assert plan("pull_request", pull_request())[0].code == 64


def test_another_base_is_another_difference(plan, repository):
    repository.files[PR] = ["kernels/triton/kernel.py"]
    moved = {"action": "edited", "changes": {"base": {"ref": {"from": "topic"}, "sha": {"from": OLDER}}}}
    assert suites(plan("pull_request", pull_request(event=moved))[1]) == ["triton@l4"]


@pytest.mark.parametrize("changes", [{"title": {"from": "Old"}}, {"body": {"from": ""}}, {}])
def test_a_new_title_or_text_measures_nothing_and_asks_nothing(changes, plan, repository):
    repository.files[PR] = ["kernels/triton/kernel.py"]
    edited = {"action": "edited", "changes": changes}
    _, outputs = plan("pull_request", pull_request(event=edited))
    assert (outputs["measure"], outputs["owed"]) == ("false", "false")
    assert repository.requests == []


def test_a_dispatch_measures_what_it_names_at_the_branchs_commit(plan):
    _, outputs = plan("workflow_dispatch", dispatch(IMPL="triton"))
    assert (suites(outputs), outputs["sha"], outputs["pr"]) == (["triton@l4"], TIP, "")


def test_a_dispatch_without_a_name_measures_the_policys(plan):
    assert suites(plan("workflow_dispatch", dispatch())[1]) == ["wmma@l4"]


@pytest.mark.parametrize("impl", ["wmna", *HOSTILE_NAMES])
def test_a_dispatch_of_no_candidate_is_2(impl, plan):
    answer, outputs = plan("workflow_dispatch", dispatch(IMPL=impl))
    assert answer.code == 2
    assert outputs == {}


def test_a_reviewed_fork_is_measured_when_a_maintainer_dispatches_its_head(plan, repository):
    repository.pull(PR, HEAD, fork=True)
    _, outputs = plan("workflow_dispatch", dispatch(IMPL="triton", pr=str(PR), sha=HEAD))
    assert (outputs["measure"], outputs["sha"], outputs["pr"]) == ("true", HEAD, str(PR))


def test_a_dispatch_for_a_pull_request_without_a_name_measures_what_it_changes(plan, repository):
    repository.files[PR] = ["kernels/cpu_tiled/attention.cpp"]
    _, outputs = plan("workflow_dispatch", dispatch(pr=str(PR), sha=HEAD))
    assert (suites(outputs), outputs["pr"]) == (["cpu_tiled@l4"], str(PR))


def test_a_dispatch_of_a_commit_that_is_no_longer_the_head_is_64(plan, repository):
    repository.pull(PR, HEAD, fork=True)
    answer, _ = plan("workflow_dispatch", dispatch(IMPL="triton", pr=str(PR), sha=OLDER))
    assert answer.code == 64
    assert "review the new commit" in answer.complaint


WRONG = {
    "a pull request without its commit": {"pr": "7"},
    "a short commit": {"sha": "abc123"},
    "a branch for a commit": {"sha": "main"},
    "a commit with a command": {"sha": "a" * 39 + ";"},
    "a word for a number": {"pr": "seven", "sha": HEAD},
    "a negative number": {"pr": "-7", "sha": HEAD},
    "a number with a command": {"pr": "7; id", "sha": HEAD},
}


@pytest.mark.parametrize("inputs", WRONG.values(), ids=WRONG)
def test_a_dispatch_with_a_wrong_input_is_64(inputs, plan):
    answer, outputs = plan("workflow_dispatch", dispatch(IMPL="triton", **inputs))
    assert answer.code == 64
    assert outputs == {}


def test_a_dispatch_for_a_closed_pull_request_is_64(plan, repository):
    repository.pull(PR, HEAD, state="closed")
    answer, _ = plan("workflow_dispatch", dispatch(IMPL="triton", pr=str(PR), sha=HEAD))
    assert answer.code == 64
    assert "closed" in answer.complaint


@pytest.mark.parametrize(("actor", "again"), [("reader", ""), ("stranger", ""), ("maintainer", "reader")])
def test_nobody_dispatches_or_runs_again_who_may_not_push(actor, again, plan):
    answer, outputs = plan("workflow_dispatch", dispatch(IMPL="triton"), actor=actor, again=again)
    assert answer.code == 64
    assert "may not start this workflow" in answer.complaint
    assert outputs == {}


def test_an_event_that_nobody_planned_for_is_64(plan):
    assert plan("pull_request_target", pull_request())[0].code == 64


def test_a_refusal_by_github_is_one_line_and_69(plan, repository):
    answer, outputs = plan("workflow_dispatch", dispatch(IMPL="triton", pr="99", sha=HEAD))
    assert answer.code == 69
    assert "99" in answer.complaint
    assert outputs == {}


def test_a_candidate_is_measured_on_every_kind_of_runner_that_can_run_it(plan, repository, tmp_path):
    repository.texts["kernels/triton/kernel.toml"] = 'devices = ["cuda", "cpu"]'
    repository.compared[f"{OLDER}...{TIP}"] += ["kernels/wmma/attention.cu"]
    policy = tmp_path / "gate.toml"
    policy.write_text(
        '[github]\nrunners = [{ name = "l4", labels = ["l4"] }, { name = "cpu", labels = ["x"], device = "cpu" }]\n'
    )
    _, outputs = plan("push", push(), "--policy", str(policy))
    assert suites(outputs) == ["triton@l4", "triton@cpu", "wmma@l4"]


@pytest.mark.parametrize("change", [{"labels": ()}, {"name": "a b"}, {"labels": ("x\ny",)}])
def test_a_runner_is_made_of_words(change):
    with pytest.raises(ValueError, match="a runner needs"):
        replace(Runner("l4", ("self-hosted",)), **change)


@pytest.mark.parametrize("change", [{"runners": ()}, {"runners": (Runner("a", ("x",)),) * 2}])
def test_at_least_one_runner_is_named_and_each_once(change):
    with pytest.raises(ValueError, match="at least one runner"):
        replace(GithubSettings(), **change)
