"""`kernel-gate fuzz`: its options, its exit codes, and the failure that it leaves behind."""

import contextlib
import json

import pytest

from tests.support import examples

KERNELS = ("--kernels", examples.ADVERSARIAL)
WRONG = ("fuzz", "--impl", "one_row_missing", *KERNELS, "--device", "cpu")
TINY = [
    option
    for matrix, fields in {
        "small": ("seq_len=[17]", "batch=[1]", "heads=[2]", "head_dim=[32]"),
        "lengths": ("seq_len=[1, 5]", "head_dim=[32]"),
        "inputs": ("seq_len=[5]", "head_dim=[32]", 'distribution=["constant", "large_logits"]'),
        "layouts": ("seq_len=[5]", "head_dim=[32]", 'layout=["odd_rows", "heads_inside"]'),
    }.items()
    for field in fields
    for option in ("--set", f"fuzz.{matrix}.{field}")
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, server):
    """A folder of the test's own, and the running server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gate.sandbox.client.WorkerServer", lambda limits: contextlib.nullcontext(server))


def test_extended_takes_strided_inputs_and_every_distribution(kernel_gate):
    answer = kernel_gate("fuzz", "--impl", "honest", *KERNELS, "--device", "cpu", "--extended", *TINY)
    assert answer.code == 0
    assert "14 passed, 0 failed, 12 not supported, of 26" in answer.out
    assert "not supported: 12 × dtype bfloat16" in answer.out


def test_a_failure_is_kept_beside_the_report_and_plays_again(kernel_gate, tmp_path):
    out = tmp_path / "folder" / "fuzz.json"
    answer = kernel_gate(*WRONG, *TINY, "--out", out)
    assert answer.code == 1
    kept = out.with_name("fuzz-failure.json")
    assert f"written: {kept}" in answer.out
    failure = json.loads(kept.read_text())
    assert (failure["impl"], failure["device"], failure["config"]) == ("one_row_missing", "cpu", "")
    assert failure["shrunk"]["case"]["workload"]["seq_len"] == 1
    assert list(failure["shrunk"]["case"]) == ["workload", "distribution", "layout"]

    before = kept.read_bytes()
    again = kernel_gate("fuzz", "--repro", kept, *KERNELS)
    assert again.code == 1
    assert f"seed {failure['shrunk']['seed']}" in again.out
    assert "0 passed, 1 failed, 0 not supported, of 1" in again.out
    assert kept.read_bytes() == before
    assert not (tmp_path / "fuzz-failure.json").exists()


def test_without_out_a_failure_is_kept_here(kernel_gate, tmp_path):
    assert kernel_gate(*WRONG, *TINY).code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["fuzz-failure.json"]


def test_what_passes_leaves_no_failure(kernel_gate, tmp_path):
    assert kernel_gate("fuzz", "--impl", "honest", *KERNELS, "--device", "cpu", *TINY).code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_map_shows_the_author_where(kernel_gate):
    answer = kernel_gate(*WRONG, *TINY)
    assert "1 of 2 heads are wrong; the worst is head 1 of batch 0: rows 16, columns 0–31" in answer.out
    assert "NNNNNNNNNNNNNNNN" in answer.out


def test_a_file_that_is_no_failure_is_one_line_and_64(kernel_gate, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    other = kernel_gate("fuzz", "--repro", tmp_path / "other.json", *KERNELS)
    assert (other.code, "is not a fuzz-failure.json" in other.complaint) == (64, True)
    answer = kernel_gate("fuzz", "--repro", "nothing.json", *KERNELS)
    assert answer.code == 64
    assert "nothing.json" in answer.complaint


def test_a_failure_of_a_candidate_that_is_gone_is_one_line_and_2(kernel_gate, tmp_path):
    kernel_gate(*WRONG, *TINY)
    (tmp_path / "none").mkdir()
    answer = kernel_gate("fuzz", "--repro", "fuzz-failure.json", "--kernels", "none")
    assert answer.code == 2
    assert "one_row_missing" in answer.complaint


@pytest.mark.parametrize(("asked", "backend"), [((), "flash"), (("--backend", "math"), "math")])
def test_without_a_candidate_sdpas_own_backend_is_checked(asked, backend, kernel_gate, tmp_path):
    answer = kernel_gate("fuzz", *asked, "--device", "cpu", *TINY, "--out", tmp_path / "fuzz.json")
    assert answer.code == 0
    assert f"sdpa:{backend} is correct in this environment" in answer.out
    assert json.loads((tmp_path / "fuzz.json").read_text())["impl"] == f"sdpa:{backend}"


def test_an_environment_in_which_sdpa_is_wrong_is_unfit(kernel_gate, monkeypatch):
    wrong = examples.incorrect()
    monkeypatch.setattr("gate.check.fuzz.check_backend", lambda server, backend, cases, *_: [wrong] * len(cases))
    answer = kernel_gate("fuzz", "--device", "cpu", *TINY)
    assert answer.code == 69
    assert "incorrect in this environment" in answer.out


CONTRADICTIONS = {
    "a backend and a candidate": ("--backend", "flash", "--impl", "honest"),
    "a failure and a matrix": ("--repro", "fuzz-failure.json", "--full"),
    "a failure and a backend": ("--repro", "fuzz-failure.json", "--backend", "flash"),
    "a sanitizer and no candidate": ("--sanitize",),
    "a backend that is none": ("--backend", "cudnn"),
}


@pytest.mark.parametrize("asked", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_what_contradicts_itself_is_usage(asked, kernel_gate):
    answer = kernel_gate("fuzz", *asked, *KERNELS, "--device", "cpu")
    assert answer.code == 64
    assert answer.complaint


def test_a_failure_is_played_by_another_candidate_where_one_is_named(kernel_gate):
    assert kernel_gate(*WRONG, *TINY).code == 1
    again = ("fuzz", "--repro", "fuzz-failure.json", *KERNELS)
    assert kernel_gate(*again).code == 1
    assert kernel_gate(*again, "--impl", "honest").code == 0
    assert kernel_gate(*again, "--impl", "nobody").code == 2


def test_a_candidate_named_for_all_commands_does_not_change_what_a_failure_plays(kernel_gate, monkeypatch):
    kernel_gate(*WRONG, *TINY)
    monkeypatch.setenv("IMPL", "honest")
    assert kernel_gate("fuzz", "--repro", "fuzz-failure.json", *KERNELS).code == 1


def test_a_sanitizer_for_a_cpu_is_usage(kernel_gate):
    answer = kernel_gate("fuzz", "--impl", "honest", *KERNELS, "--device", "cpu", "--sanitize")
    assert answer.code == 64
    assert "GPU" in answer.complaint
