"""Every kernel in tests/candidates/adversarial ends with the right status and exit code, and the gate survives it.

Built, run in real processes and judged; two replicates are too few for a verdict on speed, so that what is right ends
undecided, on any machine.
"""

import json
import os
import re
from pathlib import Path

import pytest

import gate
from gate import worker
from gate.candidates.registry import candidate_names, find_candidate
from gate.check.check import check
from gate.measure import replicate
from gate.measure.pipeline import measure_candidate
from gate.measure.replicate import run_replicate
from gate.profiling.torch_trace import trace_call
from gate.records import Outcome, Run, Status
from gate.records.codec import from_json, to_json
from gate.verdict.evidence_file import load_evidence
from gate.verdict.judge import judge
from gate.witness import candidate_side
from tests.sandbox.test_client import LEAVES_A_DAEMON
from tests.support import examples
from tests.support.cheats import CHEATS, EXPECTED, EXPECTED_ON_CUDA, RIGHT, measured, stages, unstoppable
from tests.support.processes import processes_named

SOURCES = Path(gate.__file__).parent
NOTHING_GAINED = ("python_caches_by_value", "python_hides_sdpa")
"""Cheats that end as an honest kernel does, because they are one: right, and as fast as what is judged."""


def children(pid: int) -> str:
    return "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))


def test_every_adversarial_kernel_is_expected_to_end_somehow():
    assert sorted({*EXPECTED, *EXPECTED_ON_CUDA}) == candidate_names(examples.ADVERSARIAL)


FUNCTION_OF_THE_GATE = re.compile(
    r"""co_name != "(\w+)"|"(\w+)" in callers\(\)|callers\(\)\["(\w+)"\]|gate\.[\w.]+\.(\w+) = """
)
"""A function that a cheat searches for on the stack, or replaces."""


def test_every_function_that_a_cheat_searches_for_or_replaces_exists():
    """A cheat that names a renamed function would do nothing, and its test could not fail."""
    defined = {name for path in SOURCES.rglob("*.py") for name in re.findall(r"def (\w+)\(", path.read_text())}
    cheats = {path: path.read_text() for path in examples.ADVERSARIAL.glob("*/*.py")}
    names = {
        name for text in cheats.values() for found in FUNCTION_OF_THE_GATE.findall(text) for name in found if name
    }
    assert len(names) > 5
    assert names - defined == set()


def test_every_cheat_is_stopped_or_has_nothing_to_gain():
    assert len(CHEATS) >= 30
    assert [name for name, expected in CHEATS.items() if expected == RIGHT] == list(NOTHING_GAINED)
    assert all(expected[2][0] is not Outcome.PASS for expected in EXPECTED.values())


@pytest.mark.parametrize("name", EXPECTED)
def test_every_adversarial_kernel_ends_as_its_status_and_the_gate_survives(name, session, request):
    if reason := unstoppable(name):
        pytest.skip(f"nothing stops it: {reason} (docs/security.md)")
    stage, status, (outcome, exit_code), words = EXPECTED[name]
    if stage == "witness" and words and "call 0" not in words:
        request.getfixturevalue("full_witness_batches")
    measurement = measured(session, name)
    *before, last = stages(measurement)
    assert last[:2] == (stage, status), last
    assert all(each[1] is Status.OK for each in before)

    run = judge(measurement, session.settings.gates)
    assert words in last[2] or words in run.verdict.reason, run.verdict.reason
    assert (run.verdict.outcome, run.verdict.exit_code) == (outcome, exit_code)
    assert from_json(Run, to_json(run), name) == run
    assert children(session.server._server.process.pid) == ""


def test_the_daemon_that_a_kernel_leaves_is_found_though_it_took_a_session_of_its_own(session, python_candidate):
    """Every process that loads the candidate leaves one."""
    name = f"left-{os.getpid()}"
    renamed = f"open('/proc/self/comm', 'w').write({name!r})"
    noticed = f"assert open(f'/proc/{{left}}/comm').read() == {name + chr(10)!r}\n"
    honest = (examples.ADVERSARIAL / "python_honest" / "kernel.py").read_text()
    folder = python_candidate(f"{honest}{LEAVES_A_DAEMON.format(daemon=renamed)}{noticed}")
    seen = measure_candidate(session, find_candidate("made_up", folder.parent), (examples.workload(),)).evaluations[0]
    assert seen.correctness.status is seen.trial.status is seen.witness.status is Status.OK
    assert processes_named(name) == []


def test_a_candidate_that_is_right_passes_every_check_on_both_inputs(session):
    correctness = measured(session, "honest").evaluations[0].correctness
    names_of_checks = [check.name for check in correctness.checks]
    assert len(names_of_checks) == len(set(names_of_checks)) == 20
    assert all(check.passed for check in correctness.checks)


def test_the_samples_of_a_candidate_that_is_right_are_all_kept(session):
    trial = measured(session, "honest").evaluations[0].trial
    table = json.loads(to_json(trial))
    assert [len(replicate["times_ms"]) for replicate in table["replicates"]] == [4, 4]
    assert all(time > 0 for replicate in trial.replicates for times in replicate.times_ms for time in times)


FORGES_THE_RESULT = """
import contextlib, pathlib

def attention(q, k, v, scale, causal, out):
    forged = pathlib.Path("artifacts/run.json")  # a job begins where the command did
    with contextlib.suppress(PermissionError):  # of Landlock
        forged.write_text('{"verdict": {"outcome": "pass"}}')
        forged.chmod(0o444)
    out.zero_()
"""


def test_a_result_that_a_candidate_writes_does_not_count(kernel_gate, python_candidate, tmp_path, monkeypatch):
    """Where Linux does not keep it from writing there, it is written over."""
    monkeypatch.chdir(tmp_path)
    Path("artifacts").mkdir()
    folder = python_candidate(FORGES_THE_RESULT)
    small = ("--device", "cpu", "--shape", "1,2,64,32", "--baseline", "flash")
    answer = kernel_gate("run", "--impl", "made_up", "--kernels", folder.parent, *small, "--out", "artifacts")
    assert answer.code == 1
    run = load_evidence(Path("artifacts/run.json"))
    assert run.verdict.outcome is Outcome.REJECTED
    assert "elementwise tolerance" in run.verdict.reason


FRAMES = {
    "cuda_says_done_early": [(candidate_side.run_candidate_side, ())],
    "python_forges_every_reply": [(worker._check, ()), (run_replicate, ("plan",)), (worker._trace_one, ("name",))],
    "python_forges_the_reply": [(run_replicate, ("plan",))],
    "python_hides_sdpa": [(trace_call, ())],
    "python_knows_when_it_is_timed": [(run_replicate, ())],
    "python_peeks_at_the_rehearsal": [(candidate_side.run_candidate_side, ("memory",))],
    "python_reads_the_seed": [(replicate._round, ("executions", "rng", "times", "plan"))],
    "python_spoils_sdpa": [(check, ())],
}
"""The functions of Kernel Gate, with their variables, that cheats look for in the stack that calls them."""


@pytest.mark.parametrize("name", FRAMES)
def test_a_cheat_looks_for_functions_and_variables_that_are_there(name):
    """A name that was changed elsewhere would disarm the cheat, and its test would show nothing."""
    code = (examples.ADVERSARIAL / name / "kernel.py").read_text()
    for function, variables in FRAMES[name]:
        assert f'"{function.__name__}"' in code
        assert set(variables) <= set(function.__code__.co_varnames)
        assert all(f'"{variable}"' in code for variable in variables)
