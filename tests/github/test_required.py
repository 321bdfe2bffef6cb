"""The check that a branch is protected with."""

import json

import pytest

from gate.records import Outcome
from gate.storage import write_record
from tests.support import examples

DONE = {"result": "success", "outputs": {}}
MEASURED = {"result": "success", "outputs": {"measure": "true", "owed": "false", "reason": "asked"}}


@pytest.fixture
def required(kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return lambda needs: kernel_gate("required", "--needs", json.dumps(needs))


def needs(**changes) -> dict:
    return {"plan": MEASURED, "measure": DONE, "gate": DONE, "comment": DONE, **changes}


def test_all_that_had_to_happen_and_passed_is_0(required, tmp_path):
    assert required(needs()).code == 0
    assert "pass" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("result", ["failure", "cancelled", "skipped", ""])
@pytest.mark.parametrize("job", ["measure", "gate"])
def test_a_job_that_did_not_succeed_is_not_a_pass(job, result, required):
    answer = required(needs(**{job: {"result": result}}))
    assert answer.code == 1
    assert job in answer.out


@pytest.mark.parametrize("result", ["failure", "cancelled", "skipped"])
def test_a_plan_that_did_not_succeed_is_not_a_pass(result, required):
    assert required(needs(plan={"result": result, "outputs": {}})).code == 3


def test_a_job_that_is_not_there_is_not_a_pass(required):
    assert required({"plan": MEASURED, "gate": DONE}).code == 1
    assert required({}).code == 3


def test_the_comment_does_not_decide(required):
    assert required(needs(comment={"result": "failure"})).code == 0


def test_nothing_to_judge_is_a_pass_and_kernels_without_a_measurement_are_not(required):
    skipped = {name: {"result": "skipped"} for name in ("measure", "gate", "comment")}
    for owed, code in {"false": 0, "true": 2, "": 2}.items():
        plan = {"result": "success", "outputs": {"measure": "false", "owed": owed, "reason": "no [bench]"}}
        assert required({"plan": plan, **skipped}).code == code


def test_a_plan_without_outputs_is_not_a_pass(required):
    assert required(needs(plan={"result": "success"})).code == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"plan": 3}'])
def test_what_is_not_the_json_of_needs_is_64(text, kernel_gate):
    assert kernel_gate("required", "--needs", text).code == 64


def test_a_machine_whose_control_fires_is_unfit_whatever_the_candidate(kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", examples.run())
    assert kernel_gate("fit", "--run", tmp_path / "run.json").code == 0
    drifted = examples.run(examples.measurement(examples.evaluation(trial=examples.trial(0.8, control=1.2))))
    assert drifted.verdict.outcome is Outcome.UNDECIDED
    write_record(tmp_path / "run.json", drifted)
    answer = kernel_gate("fit", "--run", tmp_path / "run.json")
    assert answer.code == 69
    assert "control" in answer.out


def test_a_run_without_a_control_shows_nothing_of_the_machine(kernel_gate, tmp_path):
    missing = examples.measurement(workloads=(examples.workload(), examples.workload(seq_len=9)))
    write_record(tmp_path / "run.json", examples.run(missing))
    assert kernel_gate("fit", "--run", tmp_path / "run.json").code == 69


def test_a_slow_candidate_says_nothing_against_the_machine(kernel_gate, tmp_path):
    slow = examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4))))
    write_record(tmp_path / "run.json", slow)
    assert kernel_gate("fit", "--run", tmp_path / "run.json").code == 0


@pytest.mark.parametrize(("option", "other"), [("--impl", "other"), ("--device", "cuda")])
def test_evidence_on_something_else_is_64(option, other, kernel_gate, tmp_path):
    write_record(tmp_path / "run.json", examples.measurement())
    answer = kernel_gate("gate", "--cand", tmp_path / "run.json", option, other, "--out", tmp_path / "out.json")
    assert answer.code == 64
    assert other in answer.complaint
    assert not (tmp_path / "out.json").exists()


def test_the_gate_tells_the_job_what_it_found(kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    slow = examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4))))
    write_record(tmp_path / "cand.json", slow)
    answer = kernel_gate("gate", "--cand", tmp_path / "cand.json", "--github", "--out", tmp_path / "run.json")
    assert answer.code == 1
    assert "::error file=kernels/honest/kernel.toml" in answer.out
    assert slow.verdict.reason in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "output").read_text() == f"outcome=rejected\nrun={tmp_path}/run.json\n"
