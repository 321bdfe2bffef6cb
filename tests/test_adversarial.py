"""Every kernel in tests/adversarial ends with the right status and exit code, and the gate survives it.

Built, run in real processes and judged; two replicates are too few for a verdict on speed, so that what is right ends
undecided, on any machine.
"""

import json
from pathlib import Path

import pytest

from gate.files import from_json, to_json
from gate.judge import judge
from gate.pipeline import measure_candidate
from gate.records import Measurement, Outcome, Run, Status
from gate.registry import find, names
from tests import examples

REJECTED, UNDECIDED, FAILED = (Outcome.REJECTED, 1), (Outcome.UNDECIDED, 2), (Outcome.FAILED, 3)
RIGHT = ("trial", Status.OK, UNDECIDED, "")

# candidate: the stage that shows it, its status, the verdict with its exit code, and words of the message
EXPECTED = {
    "aborts": ("check", Status.CRASHED, FAILED, "SIGABRT"),
    "checked_only": ("trial", Status.INCORRECT, REJECTED, "the timed output is off"),
    "does_not_compile": ("build", Status.BUILD_FAILED, FAILED, "error:"),
    "endless_loop": ("check", Status.TIMED_OUT, FAILED, "did not end within"),
    "error_code": ("check", Status.CRASHED, FAILED, "returned 7"),
    "exits": ("check", Status.CRASHED, FAILED, "exited with code 0 before it answered"),
    "first_call_only": ("check", Status.INCORRECT, REJECTED, "repeatable"),
    "honest": RIGHT,
    "input_mutation": ("check", Status.INCORRECT, REJECTED, "wrote to k"),
    "leaves_a_daemon": RIGHT,
    "memory_hog": ("check", Status.OUT_OF_MEMORY, FAILED, "more than its limit"),
    "missing_export": ("build", Status.BUILD_FAILED, FAILED, "no function attention()"),
    "nan_output": ("check", Status.INCORRECT, REJECTED, "4096 of 4096 elements are NaN"),
    "no_write": ("check", Status.INCORRECT, REJECTED, "were not written"),
    "one_row_missing": ("check", Status.INCORRECT, REJECTED, "32 of 4096 elements"),
    "out_of_bounds": ("check", Status.INCORRECT, REJECTED, "wrote beside out"),
    "python_exhausts_memory": ("check", Status.OUT_OF_MEMORY, FAILED, "MemoryError"),
    "python_honest": RIGHT,
    "python_leaves": ("check", Status.CRASHED, FAILED, "before it answered"),
    "python_makes_up_times": ("trial", Status.CRASHED, FAILED, "another plan"),
    "python_raises": ("check", Status.CRASHED, FAILED, "ValueError: no kernel for these sizes"),
    "python_replaces_output": ("check", Status.INCORRECT, REJECTED, "replaced out"),
    "python_replaces_when_timed": ("trial", Status.INCORRECT, REJECTED, "replaced out"),
    "python_reshapes_output": ("check", Status.INCORRECT, REJECTED, "replaced out"),
    "python_speaks_for_the_server": ("check", Status.CRASHED, FAILED, "not a record"),
    "refuses": ("check", Status.UNSUPPORTED, REJECTED, "unsupported"),
    "segfault": ("check", Status.CRASHED, FAILED, "SIGSEGV"),
    "stale_output": ("check", Status.INCORRECT, REJECTED, "on other inputs"),
    "writes_beside_workspace": ("check", Status.INCORRECT, REJECTED, "wrote beside workspace"),
    "wrong_answer": ("check", Status.INCORRECT, REJECTED, "elementwise tolerance"),
}
EXPECTED_ON_CUDA = {
    "cuda_deferred": ("check", Status.INCORRECT, REJECTED, "repeatable"),
    "cuda_device_assert": ("check", Status.CRASHED, FAILED, "device-side assert"),
    "cuda_honest": RIGHT,
    "cuda_hung_kernel": ("check", Status.TIMED_OUT, FAILED, "did not end within"),
    "cuda_illegal_address": ("check", Status.CRASHED, FAILED, "illegal memory access"),
    "cuda_launch_failure": ("check", Status.CRASHED, FAILED, "CUDA error"),
    "cuda_no_write": ("check", Status.INCORRECT, REJECTED, "were not written"),
    "cuda_out_of_memory": ("check", Status.OUT_OF_MEMORY, FAILED, "OutOfMemoryError"),
    "cuda_replayed_output": ("check", Status.INCORRECT, REJECTED, "elementwise tolerance"),
    "cuda_side_stream": ("trial", Status.INCORRECT, REJECTED, "the timed output is off"),
    "cuda_waits_for_the_device": RIGHT,
}
BRIEF = {"endless_loop": {"check_s": 1.0}}
"""Limits of those that run until they are ended."""


def measured(bench, name: str) -> Measurement:
    from dataclasses import replace

    limits = examples.limits(**BRIEF.get(name, {}))
    small = replace(bench, settings=replace(bench.settings, limits=limits))
    return measure_candidate(small, find(name, examples.ADVERSARIAL), (examples.workload(),))


def stages(measurement: Measurement) -> list[tuple[str, Status, str]]:
    """(stage, status, message) of every stage that was reached."""
    found = [("build", measurement.build)]
    found += [("check", each.correctness) for each in measurement.evaluations]
    found += [("trial", each.trial) for each in measurement.evaluations if each.trial]
    return [(name, stage.status, stage.message) for name, stage in found]


def children(pid: int) -> str:
    return "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))


def test_every_adversarial_kernel_is_expected_to_end_somehow():
    assert sorted([*EXPECTED, *EXPECTED_ON_CUDA]) == names(examples.ADVERSARIAL)


@pytest.mark.parametrize("name", EXPECTED)
def test_every_adversarial_kernel_ends_as_its_status_and_the_gate_survives(name, bench):
    stage, status, (outcome, exit_code), words = EXPECTED[name]
    measurement = measured(bench, name)
    *before, last = stages(measurement)
    assert last[:2] == (stage, status)
    assert words in last[2]
    assert all(each[1] is Status.OK for each in before)

    run = judge(measurement, bench.settings.gates)
    assert (run.verdict.outcome, run.verdict.exit_code) == (outcome, exit_code)
    assert from_json(Run, to_json(run), name) == run
    assert children(bench.server._process.pid) == ""


def test_the_daemon_that_a_kernel_leaves_is_found_though_it_took_a_session_of_its_own(bench):
    """It would sleep for eleven days."""
    measured(bench, "leaves_a_daemon")
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes())
        except OSError:  # it ended meanwhile
            continue
    assert b"sleep\x00987654\x00" not in commands


def test_a_candidate_that_is_right_passes_every_check_on_both_inputs(bench):
    correctness = measured(bench, "honest").evaluations[0].correctness
    names_of_checks = [check.name for check in correctness.checks]
    assert len(names_of_checks) == len(set(names_of_checks)) == 13
    assert all(check.passed for check in correctness.checks)


def test_the_samples_of_a_candidate_that_is_right_are_all_kept(bench):
    trial = measured(bench, "honest").evaluations[0].trial
    table = json.loads(to_json(trial))
    assert [len(replicate["times_ms"]) for replicate in table["replicates"]] == [4, 4]
    assert all(time > 0 for replicate in trial.replicates for times in replicate.times_ms for time in times)
