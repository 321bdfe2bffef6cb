"""What reviewers and authors read."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gate.records import Build, Evaluation, Outcome, Status
from gate.report.escaping import escape
from gate.report.facts import MARKS, headline
from gate.report.html import page
from gate.report.markdown import markdown
from gate.report.terminal import terminal
from tests.support import examples

GOLDEN = Path(__file__).parents[1] / "golden"
RUNS = {
    "pass": examples.run(),
    "rejected": examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4)))),
    "incorrect": examples.run(examples.measurement(Evaluation(examples.workload(), examples.incorrect()))),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_comment_is_the_golden_copy(name):
    """To accept a change: KERNEL_GATE_GOLDEN=write make test, then read the difference."""
    path = GOLDEN / f"{name}.md"
    if os.environ.get("KERNEL_GATE_GOLDEN") == "write":
        path.write_text(markdown(RUNS[name]))
    assert markdown(RUNS[name]) == path.read_text()


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_verdict_and_its_reason_come_first_and_then_what_to_do(run):
    first, _, third = markdown(run).splitlines()[:3]
    assert run.verdict.reason in first
    assert run.verdict.outcome.value.upper() in first
    assert third == run.verdict.next_step


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_terminal_and_the_comment_show_the_same_facts(run):
    shown, posted = terminal(run), markdown(run)
    facts = [run.verdict.reason, run.verdict.next_step, *(gate.evidence for gate in run.verdict.gates)]
    facts += [str(value) for row in run.comparisons for value in (row.baseline, f"{row.candidate_ms:.4g}")]
    assert [fact for fact in facts if fact not in shown or fact not in posted] == []


def test_every_outcome_has_a_mark():
    assert set(MARKS) == set(Outcome)


def test_a_workload_without_a_comparison_still_has_its_row():
    missing = examples.workload(seq_len=999)
    run = examples.run(examples.measurement(workloads=(examples.workload(), missing)))
    (row,) = [line for line in markdown(run).splitlines() if line.startswith(f"| {missing}")]
    assert "undecided" in row


HOSTILE = "</details><img src=x> @everyone | `code` & ```"


def test_text_from_a_candidate_cannot_leave_its_place():
    failed = Build(examples.IMPL, Status.BUILD_FAILED, HOSTILE, log=f"{HOSTILE}\n```\n# heading")
    run = examples.run(examples.measurement(evaluations=(), build=failed))
    lines = markdown(run).splitlines()
    assert "<img" not in lines[0]
    assert "@everyone" not in lines[0]
    fences = [line for line in lines if line.startswith("````")]
    assert len(fences) == 2 * sum(line.startswith("````text") for line in lines)


def test_escaping_leaves_plain_text_alone():
    assert escape("ratio 0.8 [0.7, 0.9]") == "ratio 0.8 [0.7, 0.9]"


def test_a_warning_stands_above_the_folded_evidence():
    noisy = examples.evaluation(trial=examples.trial(0.3, noise=0.2, replicates=20))
    text = markdown(examples.run(examples.measurement(noisy)))
    assert 0 < text.index("noisy: sdpa:flash varies") < text.index("<details>")


def test_the_headline_of_a_pass_names_the_workload_that_gains_least():
    more = examples.evaluation(trial=examples.trial(0.5, seed=9))
    gains = [examples.evaluation(), replace(more, workload=examples.workload(seq_len=8))]
    assert "on all 2 workloads; smallest speedup: 1.25" in headline(examples.run(examples.measurement(*gains)))


def test_tunables_stand_beside_the_build_in_terminal_comment_and_page():
    run = examples.run(examples.measurement(build=examples.build(config={"BLOCK_N": 32, "BLOCK_M": 64})))
    for text in (terminal(run), page(run)):
        assert "tunables: BLOCK_M=64,BLOCK_N=32" in text
    assert "tunables: BLOCK_M=64" in markdown(run).replace("\\", "")
