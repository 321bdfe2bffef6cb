"""The whole way in real processes, on a workload so small that it takes a blink."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gate.build.cache_key import files_sha256
from gate.candidates.registry import find_candidate
from gate.errors import BadInputError
from gate.measure import pipeline
from gate.measure.pipeline import measure_candidate, measure_sdpa
from gate.records import Build, KernelResources, Outcome, ResourceLimits, Run, Status
from gate.records.codec import from_json, to_json
from gate.report.measurement import times_table
from gate.sandbox.client import WorkerServer
from gate.verdict.judge import judge, measurement_outcome
from tests.support import examples

HONEST = (examples.ADVERSARIAL / "python_honest" / "kernel.py").read_text()
CALLS_SDPA = """
import torch
def attention(q, k, v, scale, causal, out):
    sdpa = torch.nn.functional.scaled_dot_product_attention
    out.copy_(sdpa(q, k, v, is_causal=causal, scale=scale) if q.shape[2] == 17 else own(q, k, v, scale))
def own(q, k, v, scale):
    return torch.softmax(q @ k.mT * scale, dim=-1) @ v
"""
WORKLOADS = (examples.workload(), examples.workload(seq_len=17, causal=True))


@pytest.fixture
def honest():
    return find_candidate("python_honest", examples.ADVERSARIAL)


def with_baseline(session, name: str):
    return replace(session, settings=examples.settings(measure=replace(session.settings.measure, baseline=name)))


def test_a_candidate_is_measured_on_every_workload_that_was_asked_for(session, honest):
    measurement = measure_candidate(session, honest, WORKLOADS)
    assert measurement.workloads == WORKLOADS
    assert [each.workload for each in measurement.evaluations] == list(WORKLOADS)
    assert all(each.correctness.status is each.trial.status is Status.OK for each in measurement.evaluations)
    assert (measurement.impl, measurement.build.impl) == ("python_honest", "python_honest")


def test_the_environment_is_that_of_the_processes_that_time(session, honest):
    environment = measure_candidate(session, honest, WORKLOADS[:1]).environment
    assert environment.device == "cpu"
    assert environment.threads == 1  # as tests/conftest.py asks
    assert environment.torch


def test_evidence_says_of_which_files_it_is_and_when_each_replicate_was_taken(session, honest):
    before = datetime.now(UTC).replace(microsecond=0)
    measurement = measure_candidate(session, honest, WORKLOADS[:1])
    assert measurement.build.files_sha256 == files_sha256(honest.folder)
    replicates = measurement.evaluations[0].trial.replicates
    taken_at = [datetime.fromisoformat(replicate.taken_at) for replicate in replicates]
    assert taken_at == sorted(taken_at)
    assert before <= taken_at[0]
    assert taken_at[-1] <= datetime.now(UTC)


def test_a_named_baseline_is_taken_without_a_choice(session, honest):
    seen = measure_candidate(with_baseline(session, "math"), honest, WORKLOADS[:1]).evaluations[0]
    assert seen.sdpa is None
    assert seen.trial.implementation("baseline") == seen.trial.implementation("baseline_again") == "sdpa:math"


def test_the_best_baseline_is_the_fastest_of_a_trial_that_is_kept(session, honest):
    seen = measure_candidate(with_baseline(session, "best"), honest, WORKLOADS[:1]).evaluations[0]
    medians = {arm: seen.sdpa.median_ms[arm] for arm in ("flash", "math")}
    assert [len(each.times_ms) for each in seen.sdpa.replicates] == [session.settings.measure.selection_rounds]
    assert seen.trial.implementation("baseline") == "sdpa:" + min(medians, key=medians.get)


def test_evidence_says_which_baseline_was_asked_for_and_which_was_chosen(session, honest):
    named = measure_candidate(with_baseline(session, "math"), honest, WORKLOADS)
    assert (named.baseline, named.environment.sdpa_backend) == ("math", "math")
    best = measure_candidate(with_baseline(session, "best"), honest, WORKLOADS)
    chosen = {each.trial.implementation("baseline").removeprefix("sdpa:") for each in best.evaluations}
    assert (best.baseline, best.environment.sdpa_backend) == ("best", ", ".join(sorted(chosen)))
    assert measure_sdpa(session, "all", WORKLOADS[:1]).environment.sdpa_backend is None


def test_sdpa_is_traced_by_the_witness_before_a_candidate_is_loaded(session, honest, monkeypatch):
    """One that is loaded could take the memory that a backend needs, and so strike it off the list."""
    asked = []
    call = WorkerServer.call

    def watched(server, kind, requests, seconds):
        asked.append((kind.name, server is session.witness))
        return call(server, kind, requests, seconds)

    monkeypatch.setattr(WorkerServer, "call", watched)
    measure_candidate(session, honest, WORKLOADS[:1])
    assert asked[:2] == [("environment", False), ("trace", True)]
    assert ("check", False) in asked[2:]


def test_a_workload_that_is_not_supported_is_said_to_be(session, honest):
    half = examples.workload(dtype="float16")
    measurement = measure_candidate(session, honest, (half, *WORKLOADS[:1]))
    assert [each.correctness.status for each in measurement.evaluations] == [Status.UNSUPPORTED, Status.OK]
    assert measurement.evaluations[0].trial is None


@pytest.mark.parametrize("name", ["cudnn", "fastest", ""])
def test_an_unknown_baseline_is_refused_before_anything_is_built(name, session):
    broken = find_candidate("does_not_compile", examples.ADVERSARIAL)
    with pytest.raises(BadInputError, match="flash, math"):
        measure_candidate(with_baseline(session, name), broken, WORKLOADS)


def test_sdpa_is_measured_backend_by_backend_and_interleaved(session):
    measurement = measure_sdpa(session, "all", WORKLOADS)
    assert measurement.impl is None
    for each in measurement.evaluations:
        assert [arm.name for arm in each.sdpa.arms] == ["flash", "math", "empty"]
        assert len(each.sdpa.replicates) == 2
        assert (each.correctness, each.trial) == (None, None)


def test_one_backend_can_be_measured_alone(session):
    sdpa = measure_sdpa(session, "math", WORKLOADS[:1]).evaluations[0].sdpa
    assert [arm.name for arm in sdpa.arms] == ["math", "empty"]


def test_a_candidate_that_does_not_build_is_not_evaluated(session):
    broken = find_candidate("does_not_compile", examples.ADVERSARIAL)
    measurement = measure_candidate(session, broken, WORKLOADS)
    assert measurement.build.status is Status.BUILD_FAILED
    assert measurement.evaluations == ()


def test_a_candidate_that_is_wrong_on_one_workload_is_still_measured_on_the_others(session, python_candidate):
    folder = python_candidate(
        HONEST.replace("@ v.float()", "@ v.float() * (1 if q.shape[2] == 17 else 2)"),
        supports='{ dtypes = ["float32"], causal = [false, true] }',
    )
    measurement = measure_candidate(session, find_candidate("made_up", folder.parent), WORKLOADS)
    wrong, right = measurement.evaluations
    assert (wrong.correctness.status, wrong.trial) == (Status.INCORRECT, None)
    assert (right.correctness.status, right.trial.status) == (Status.OK, Status.OK)


def test_a_candidate_that_runs_sdpas_kernel_on_one_workload_is_rejected_and_timed_on_none(session, python_candidate):
    folder = python_candidate(CALLS_SDPA, supports='{ dtypes = ["float32"], causal = [false, true] }')
    measurement = measure_candidate(session, find_candidate("made_up", folder.parent), WORKLOADS)
    assert all(each.correctness.status is Status.OK and each.trial is None for each in measurement.evaluations)
    assert not {"time", "choose baseline", "witness"} & set(measurement.seconds)
    assert measurement_outcome(measurement) is Outcome.REJECTED
    run = judge(measurement, session.settings.gates)
    assert (run.verdict.outcome, run.verdict.exit_code) == (Outcome.REJECTED, 1)
    assert "provenance: launches SDPA's kernel" in run.verdict.reason
    assert from_json(Run, to_json(run), "it") == run
    assert "provenance: launches SDPA's kernel" in times_table(measurement)


def test_a_candidate_that_takes_more_than_the_policy_allows_is_not_timed(session, honest, monkeypatch):
    greedy = KernelResources("attention", "8.9", 255, 0, 0, 0, 0)
    build = Build("python_honest", Status.OK, architectures=("8.9",), resources=(greedy,))
    monkeypatch.setattr(pipeline, "prepare_candidate", lambda *_: (examples.environment(), build))
    limits = ResourceLimits(max_registers=128)
    settings = replace(session.settings, gates=replace(session.settings.gates, resources=limits))
    measurement = measure_candidate(replace(session, settings=settings), honest, WORKLOADS)
    assert measurement.evaluations == ()
    assert measurement_outcome(measurement) is Outcome.UNDECIDED
    assert "kernel-gate build" in times_table(measurement)


def test_progress_is_told(session, honest):
    told = []
    measure_candidate(
        replace(session, progress=lambda label, done, total: told.append((label.split()[0], done, total))), honest,
        WORKLOADS[:1],
    )  # fmt: skip
    once = [(stage, 0, 1) for stage in ("build", "trace", "check")]
    assert told == [*once, ("time:", 0, 2), ("time:", 1, 2), ("witness", 0, 1)]


def test_where_the_time_went_is_kept_by_stage(session, honest):
    seconds = measure_candidate(replace(with_baseline(session, "best"), seconds={}), honest, WORKLOADS[:1]).seconds
    assert list(seconds) == ["start", "build", "trace", "check", "choose baseline", "time", "witness"]
    assert all(each >= 0 for each in seconds.values())


def test_evidence_names_no_path_of_the_machine_that_built_it(session):
    measurement = measure_candidate(session, find_candidate("honest", examples.ADVERSARIAL), WORKLOADS[:1])
    assert measurement.build.status is Status.OK
    assert (measurement.build.library, measurement.build.log) == (None, "")
    assert measurement.build.key


def test_a_build_that_failed_keeps_the_compilers_words(session):
    measurement = measure_candidate(session, find_candidate("does_not_compile", examples.ADVERSARIAL), WORKLOADS[:1])
    assert "error:" in measurement.build.log
