"""`fuzz`: what is checked, what is shrunk, what is kept, and how it ends."""

import json
from dataclasses import replace

import pytest

from gate.candidates.registry import find_candidate
from gate.check.fuzz import (
    CheckedCase,
    FuzzFailure,
    FuzzReport,
    choose_cases,
    fuzz,
    load_failure,
    replay_failure,
    save_failure,
)
from gate.errors import BadInputError
from gate.records import Case, Correctness, Status, Workload
from gate.records.codec import from_json, to_json
from gate.report.checks import correctness_table
from gate.settings.model import FuzzMatrix, Settings
from gate.verdict.evidence_file import load_evidence
from tests.support import examples

SDPA = "torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)"
SUPPORT = '{ dtypes = ["float32"], head_dims = [16, 32], causal = [false, true] }'
CASES = [Case(Workload(2, 3, seq_len, 32, "float32", causal)) for seq_len in (16, 40) for causal in (False, True)]


@pytest.fixture
def candidate(python_candidate):
    """A candidate that computes SDPA, and then runs `code`."""

    def make(code: str = "pass", head: str = ""):
        lines = (
            f"import torch\n{head}\ndef attention(q, k, v, scale, causal, out):\n    out.copy_({SDPA})\n    {code}\n"
        )
        return find_candidate("made_up", python_candidate(lines, supports=SUPPORT).parent)

    return make


def counts(report: FuzzReport) -> list[str]:
    return [each.correctness.status.value for each in report.results]


def test_a_candidate_that_is_right_passes_everything(session, candidate):
    report = fuzz(session, candidate(), CASES)
    assert counts(report) == ["ok"] * 4
    assert (report.exit_code, report.failure) == (0, None)
    assert "4 passed, 0 failed, 0 not supported, of 4" in correctness_table(report)


def test_every_case_has_inputs_of_its_own(session, candidate):
    seeds = [each.seed for each in fuzz(session, candidate(), CASES).results]
    assert len(set(seeds)) == 4


def test_a_failure_is_shrunk_to_the_smallest_case_and_says_where(session, candidate):
    report = fuzz(session, candidate("out[-1, -1, 20:, 3] += 1 if causal else 0"), CASES)
    assert counts(report) == ["ok", "ok", "ok", "incorrect"]
    assert report.exit_code == 1
    assert report.failure.first.case == CASES[3]
    assert report.failure.shrunk.case == Case(Workload(1, 1, 21, 16, "float32", causal=True))
    assert report.failure.shrunk.correctness.fault.rows == (20, 20)
    assert report.failure.reproduced
    text = correctness_table(report)
    assert "1 of 6 heads are wrong; the worst is head 2 of batch 1: rows 20–39, columns 3" in text
    assert "1,1,21,16 float32 causal" in text


def test_what_the_candidate_does_not_support_is_not_tried(session, candidate):
    report = fuzz(session, candidate("out += 1"), [*CASES, Case(Workload(1, 1, 8, 32, "bfloat16"))])
    assert counts(report) == ["incorrect"] * 4 + ["unsupported"]
    assert report.failure.shrunk.case.workload.head_dim == 16
    assert "not supported: 1 × dtype bfloat16" in correctness_table(report)


def test_a_fault_that_a_layout_or_a_distribution_brings_out_keeps_it(session, candidate):
    padded = Case(Workload(1, 1, 8, 16, "float32"), "uniform", "padded_rows")
    report = fuzz(session, candidate("out += 0 if out.is_contiguous() else 1"), [padded])
    assert report.failure.shrunk.case == Case(Workload(1, 1, 2, 16, "float32"), layout="padded_rows")


@pytest.mark.parametrize(
    ("code", "status"), [("raise ValueError('no')", "crashed"), ("import os; os._exit(3)", "crashed")]
)
def test_a_candidate_that_gives_no_answer_ends_with_3(code, status, session, candidate):
    report = fuzz(session, candidate(code), CASES[:1])
    assert (counts(report), report.exit_code) == ([status], 3)
    assert report.failure.shrunk.case.workload.shape == (1, 1, 1, 16)


def test_a_wrong_answer_weighs_more_than_no_answer(session, candidate):
    report = fuzz(session, candidate("out.add_(1) if causal else exit(1)"), CASES)
    assert set(counts(report)) == {"crashed", "incorrect"}
    assert report.exit_code == 1
    assert report.failure.first.correctness.status is Status.INCORRECT


def test_what_fails_only_after_something_else_ran_is_said_to(session, candidate):
    code = "SEEN.append(q.shape); out.add_(len(set(SEEN)) - 1)"
    report = fuzz(session, candidate(code, head="SEEN = torch.__dict__.setdefault('seen', [])"), CASES)
    assert counts(report) == ["ok", "ok", "incorrect", "incorrect"]
    assert not report.failure.reproduced
    assert report.failure.shrunk == report.failure.first
    assert "did not fail again in a fresh process" in correctness_table(report)


def test_a_candidate_that_does_not_build_has_no_results(session):
    report = fuzz(session, find_candidate("does_not_compile", examples.ADVERSARIAL), CASES)
    assert (report.exit_code, report.results, report.failure) == (3, (), None)
    assert "error:" in correctness_table(report)


def test_a_failure_can_be_kept_and_played_again(session, candidate, tmp_path):
    wrong = candidate("out[0, 0, 0, 0] += 1")
    failure = fuzz(session, wrong, CASES[:1]).failure
    path = save_failure(failure, tmp_path / "fuzz.json")
    assert path == tmp_path / "fuzz-failure.json"
    assert load_failure(path) == failure

    report = replay_failure(session, wrong, failure)
    assert [(each.case, each.seed) for each in report.results] == [(failure.shrunk.case, failure.shrunk.seed)]
    assert report.failure.shrunk.correctness.message == failure.shrunk.correctness.message
    assert report.exit_code == 1


def test_a_failure_that_was_mended_passes_when_it_is_played_again(session, candidate):
    first = CheckedCase(CASES[0], 7, examples.incorrect())
    report = replay_failure(session, candidate(), FuzzFailure("made_up", "", "cpu", first, first, True, 0))
    assert (report.exit_code, report.failure) == (0, None)


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "fuzz"}', "[1]"])
def test_what_is_no_failure_is_refused(text, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadInputError):
        load_failure(path)


def test_a_missing_failure_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(BadInputError, match="choose the fuzz-failure"):
        load_failure(tmp_path / "nothing.json")


def test_a_report_survives_json_and_is_no_measurement(session, candidate, tmp_path):
    report = fuzz(session, candidate("out.zero_()"), CASES[:1])
    text = to_json(report)
    assert from_json(FuzzReport, text, "a report") == report
    assert json.loads(text)["schema_version"] == 2
    (tmp_path / "fuzz.json").write_text(text)
    with pytest.raises(BadInputError, match="neither a measurement nor a run"):
        load_evidence(tmp_path / "fuzz.json")


def test_long_lists_of_failures_are_cut():
    wrong = CheckedCase(CASES[0], 1, Correctness(Status.CRASHED, "exited"))
    report = FuzzReport(examples.environment(), "x", examples.build(), (wrong,) * 90)
    text = correctness_table(report)
    assert "and 70 more that failed" in text
    assert text.count("exited") == 20


MATRICES = Settings().fuzz


def test_a_gpu_has_the_27_workloads_and_a_cpu_a_smaller_matrix():
    on_gpu = choose_cases(MATRICES, "cuda", ("float16", "bfloat16"), full=False, extended=False)
    assert len(on_gpu) == 27
    assert {each.workload for each in on_gpu} == set(MATRICES["full"].workloads("float16"))
    assert choose_cases(MATRICES, "cpu", ("float16",), full=True, extended=False) == on_gpu
    assert choose_cases(MATRICES, "cpu", ("float32",), full=False, extended=False) == MATRICES["small"].cases(
        "float32"
    )


def test_extended_adds_all_that_the_specification_names():
    every = choose_cases(MATRICES, "cuda", ("float16", "bfloat16"), full=False, extended=True)
    added = every[27:]
    assert len(set(every)) == len(every)
    assert {1, 17, 113, 203, 799, 1023} <= {each.workload.seq_len for each in added}
    assert {each.workload.head_dim for each in added} == {32, 64, 128}
    assert {each.workload.causal for each in added} == {False, True}
    assert {each.workload.dtype for each in added} == {"float16", "bfloat16"}
    assert {each.distribution for each in added} == {
        "normal", "uniform", "large_logits", "dominant_key", "constant", "denormal",
    }  # fmt: skip
    assert {each.layout for each in added} == {"contiguous", "heads_inside", "padded_rows", "odd_rows"}


def test_a_matrix_is_the_product_of_its_factors():
    matrix = FuzzMatrix((1,), (2,), (3, 4), distribution=("normal", "constant"), layout=("odd_rows",))
    assert [(each.workload.seq_len, each.distribution, each.layout) for each in matrix.cases("float32")] == [
        (3, "normal", "odd_rows"), (3, "constant", "odd_rows"),
        (4, "normal", "odd_rows"), (4, "constant", "odd_rows"),
    ]  # fmt: skip


def test_a_case_is_named_by_what_is_unusual_in_it():
    case = Case(Workload(1, 2, 3, 4))
    assert str(case) == "1,2,3,4 float16"
    assert str(replace(case, distribution="constant", layout="odd_rows")) == "1,2,3,4 float16 constant odd_rows"


@pytest.mark.parametrize("change", [{"distribution": "gamma"}, {"layout": "sideways"}])
def test_a_case_of_an_unknown_kind_cannot_be_made(change):
    with pytest.raises(ValueError, match="is one of"):
        Case(Workload(1, 1, 1, 1), **change)
