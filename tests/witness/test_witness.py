"""What a process that never loads the candidate sees of its outputs and of its speed."""

import json
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gate.candidates.registry import find_candidate
from gate.measure.pipeline import measure_candidate
from gate.records import Outcome, Policy, Status, Witness
from gate.runtime.device import open_device
from gate.runtime.device.cpu import CpuDevice
from gate.sandbox.calls import CallFailure
from gate.verdict.judge import judge
from gate.witness import socket_channel
from gate.witness.candidate_side import run_candidate_side
from gate.witness.clock import Clock
from gate.witness.coordinator import (
    BATCH_MS,
    GRACE_S,
    MAX_LAUNCHES,
    combine_answers,
    seconds_of,
    witness,
    witness_batch_of,
)
from gate.witness.protocol import CandidateSideAnswer, CandidateSideRequest, Reply, TrustedSideAnswer
from gate.witness.shared_memory import shared_bytes
from gate.witness.trusted_side import _while_connected, allocate_shared, output_errors, size_batch
from tests.support import examples
from tests.support.jobs import ended
from tests.support.processes import DEADLINE_S

WORKLOAD = examples.workload(heads=4, seq_len=256)


@pytest.fixture
def witnessed(session, full_witness_batches):
    """Measures an adversarial candidate against flash; returns what was seen of it, judged."""
    measure = replace(session.settings.measure, baseline="flash")
    small = replace(session, settings=replace(session.settings, measure=measure))

    def run(candidate):
        measurement = measure_candidate(small, candidate, (WORKLOAD,))
        gates = {gate.name: gate for gate in judge(measurement, small.settings.gates).verdict.gates}
        return measurement.evaluations[0], gates.get("witness")

    return run


def adversarial(name):
    return find_candidate(name, examples.ADVERSARIAL)


def test_an_honest_candidate_is_seen_in_every_round(witnessed):
    seen, _ = witnessed(adversarial("python_honest"))
    assert seen.witness.status is Status.OK
    assert (
        len(seen.witness.candidate_ms)
        == len(seen.witness.baseline_local_ms)
        == len(seen.witness.baseline_ipc_ms)
        == 7
    )
    assert seen.witness.launches >= 1
    assert seen.witness.baseline_solo_ms > 0


@pytest.mark.parametrize("name", ["python_patches_the_clock", "python_slows_the_baseline"])
def test_a_candidate_that_patches_its_own_process_is_contradicted(name, witnessed):
    seen, gate = witnessed(adversarial(name))
    claimed = seen.trial.median_ms["candidate"] / seen.trial.median_ms["baseline"]
    assert claimed < 1 < seen.witness.ratio / claimed
    assert gate.outcome is Outcome.UNDECIDED
    assert "independent clock" in gate.evidence


def test_what_the_witness_rehearses_with_says_nothing_of_what_it_asks(witnessed):
    """The cheat answers from whatever lies in shared memory: late, or from inputs that were half written."""
    seen, gate = witnessed(adversarial("python_peeks_at_the_rehearsal"))
    assert gate.outcome is not Outcome.PASS
    assert seen.witness.status is not Status.OK or seen.witness.ratio > 0.5


def test_a_candidate_that_patches_the_checks_is_rejected_by_its_witness(witnessed):
    seen, _ = witnessed(adversarial("python_patches_the_checks"))
    assert seen.correctness.status is seen.trial.status is Status.OK
    assert seen.witness.status is Status.INCORRECT
    assert "round 0, call 0: off by" in seen.witness.message
    assert judged(seen.witness) is Outcome.REJECTED


def witnesses(session, candidate, *workloads):
    measure = replace(session.settings.measure, baseline="flash")
    small = replace(session, settings=replace(session.settings, measure=measure))
    return [each.witness for each in measure_candidate(small, candidate, workloads).evaluations]


def test_every_workload_has_a_witness_after_one_that_was_wrong(session):
    """The first is the smaller one: memory is taken for the largest."""
    workloads = replace(WORKLOAD, seq_len=64), WORKLOAD
    seen = witnesses(session, adversarial("python_patches_the_checks"), *workloads)
    assert [each.status for each in seen] == [Status.INCORRECT] * 2


def test_a_candidate_that_refuses_one_workload_before_its_witness_failed_at_those_that_follow(
    session, python_candidate
):
    """The witness's own candidate's side waits for the next of them, and is not to blame that none comes."""
    folder = python_candidate("""
import sys, torch
def answer(q, k, v): return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
def attention(q, k, v, scale, causal, out):
    names, frame = [], sys._getframe()
    while frame: names.append(frame.f_code.co_name); frame = frame.f_back
    if "run_candidate_side" in names and q.shape[2] == 48: raise ValueError("not that long")
    out.copy_(answer(q, k, v))
""")
    workloads = [examples.workload(seq_len=length) for length in (64, 48, 32)]
    seen = witnesses(session, find_candidate("made_up", folder.parent), *workloads)
    assert [each.status for each in seen] == [Status.OK, Status.CRASHED, Status.CRASHED]
    assert all("not that long" in each.message for each in seen[1:])


BEHAVIOUR = {
    "it writes to its inputs": ("out.copy_(answer(q, k, v)); k.zero_()", Status.INCORRECT, "wrote to its inputs"),
    "it skips": ("calls.append(1)\n    if len(calls) % 2: out.copy_(answer(q, k, v))", Status.INCORRECT, "off by"),
    "it leaves": ("import os; os._exit(0)", Status.CRASHED, "exited with code 0"),
    "it raises": ("raise ValueError('not here')", Status.CRASHED, "not here"),
    "it leaves at the end": ("Channel.receive = leaving; out.copy_(answer(q, k, v))", Status.CRASHED, "code 3"),
    "it is wrong, and leaves at the end": ("Channel.receive = leaving", Status.INCORRECT, "off by nan"),
    "it refuses at the end": ("Channel.receive = refusing; out.copy_(answer(q, k, v))", Status.CRASHED, "not today"),
}  # fmt: skip


@pytest.mark.parametrize(("behaviour", "status", "words"), BEHAVIOUR.values(), ids=BEHAVIOUR)
def test_what_a_candidate_does_before_its_witness_alone_is_seen(
    behaviour, status, words, witnessed, python_candidate
):
    code = f"""
import os, sys, torch
def answer(q, k, v): return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v
from gate.witness.socket_channel import Channel
from gate.witness.protocol import Reply
calls, hear = [], Channel.receive
def leaving(self, kind):
    heard = hear(self, kind)
    return os._exit(3) if getattr(heard, "word", "") == "over" else heard
def refusing(self, kind):
    heard = hear(self, kind)
    if getattr(heard, "word", "") == "over": self.send(Reply("failed", "not today"))
    return heard
def attention(q, k, v, scale, causal, out):
    names, frame = [], sys._getframe()
    while frame: names.append(frame.f_code.co_name); frame = frame.f_back
    if "run_candidate_side" not in names: return out.copy_(answer(q, k, v))
    {behaviour}
"""
    folder = python_candidate(code)
    seen, _ = witnessed(find_candidate("made_up", folder.parent))
    assert seen.trial.status is Status.OK
    assert seen.witness.status is status, seen.witness.message
    assert words in seen.witness.message


def judged(seen):
    run = judge(examples.measurement(examples.evaluation(witness=seen)), Policy())
    return next(gate for gate in run.verdict.gates if gate.name == "witness").outcome


def saw(candidate, baseline=1.0, far=1.0, uncaptured=False, alone=None):
    """Of one call a batch; the trial's baseline takes 1 ms."""
    launches = 1 if baseline < 2 else 10
    return Witness(Status.OK, "", launches, (candidate,), (baseline,), (far,), uncaptured, alone or baseline)


@pytest.mark.parametrize(
    ("witness", "outcome"),
    [
        (saw(0.8), Outcome.PASS),  # the example's trial says 0.8
        (saw(0.5), Outcome.PASS),
        (saw(0.99), Outcome.PASS),
        (saw(1.01), Outcome.UNDECIDED),
        (saw(1.2, far=1.4), Outcome.PASS),  # the way to a process and back takes 0.4
        (saw(1.2, far=1.6), Outcome.UNDECIDED),  # nothing is seen of a batch that is all way
        (saw(8.0, baseline=13.0, far=13.0), Outcome.UNDECIDED),  # SDPA took 1.3 times as long as in the trial
        (saw(11.4, baseline=10.0, far=15.0), Outcome.PASS),  # of a way of 5, a quarter of a batch is believed
        (saw(13.0, baseline=10.0, far=15.0), Outcome.UNDECIDED),
        (saw(0.96, far=1.2, uncaptured=True), Outcome.PASS),
        (saw(1.2, far=1.5, uncaptured=True), Outcome.UNDECIDED),  # the host's latency is most of either
        (saw(0.8, alone=0.81), Outcome.PASS),
        (saw(0.8, alone=0.79), Outcome.UNDECIDED),  # SDPA took 1.27 times as long with the candidate loaded
        (replace(saw(0.8), baseline_solo_ms=None), Outcome.UNDECIDED),  # nobody knows
        (Witness(Status.INCORRECT, "off by 1"), Outcome.REJECTED),
        (Witness(Status.CRASHED, "was ended by SIGSEGV"), Outcome.FAILED),
        (Witness(Status.ENVIRONMENT, "the witness failed"), Outcome.ENVIRONMENT),
        (None, Outcome.UNDECIDED),
    ],
)
def test_a_witness_that_contradicts_the_trial_gives_no_pass(witness, outcome):
    assert judged(witness) is outcome


def test_a_candidate_that_claims_no_gain_is_not_accused_of_a_lie():
    slow = examples.evaluation(trial=examples.trial(1.2), witness=saw(3.0))
    run = judge(examples.measurement(slow), Policy())
    assert run.verdict.outcome is Outcome.REJECTED


def test_the_shortest_batches_count_and_not_what_disturbed_the_others():
    assert Witness(Status.OK, "", 1, (9.0, 0.8), (1.0, 7.0), (1.0, 5.0)).ratio == pytest.approx(0.8)


def test_a_witness_that_saw_nothing_says_why():
    for nonsense in (
        {"status": Status.OK},
        {"status": Status.CRASHED},
        {"status": Status.OK, "candidate_ms": (1.0,)},
    ):
        with pytest.raises(ValueError, match=r"witness|round"):
            Witness(**nonsense)


def witness_batch(ratio, ms=1.0):
    return witness_batch_of(examples.evaluation(trial=examples.trial(ratio, baseline_ms=ms, noise=0)), "cpu")


@pytest.mark.parametrize("ms", [1e-3, 1.0, 1e6])
def test_what_a_candidate_says_of_its_time_does_not_make_a_batch_shorter(ms):
    """A batch of one short call would drown in the way there and back, which is taken off."""
    assert witness_batch(0.5, ms).batch_ms == BATCH_MS["cpu"]
    assert witness_batch(0.5, ms).launches == MAX_LAUNCHES


def test_a_slow_candidates_witness_asks_for_as_few_calls_as_fit_and_takes_its_time():
    slow = witness_batch(200.0, 1.0)
    assert 1 <= slow.launches < 10
    evaluation = examples.evaluation(trial=examples.trial(200.0, noise=0))
    assert seconds_of(evaluation, slow) > slow.launches * 7 * 0.2
    made_up = examples.evaluation(trial=examples.trial(0.5, baseline_ms=1e8, noise=0))
    assert seconds_of(made_up, witness_batch_of(made_up, "cpu")) <= 600


def test_a_candidate_that_is_slower_by_its_own_word_is_rejected_without_a_witness_that_would_take_minutes():
    hours = examples.trial(1e4, baseline_ms=1.0, noise=0.001)
    assert witness_batch_of(examples.evaluation(trial=hours), "cpu") is None
    verdict = judge(examples.measurement(examples.evaluation(trial=hours, witness=None)), Policy()).verdict
    assert (verdict.outcome, verdict.exit_code) == (Outcome.REJECTED, 1)


def test_a_batch_of_a_slow_candidate_is_shorter_but_not_lost_in_the_way_there_and_back():
    assert witness_batch(2.0).batch_ms == pytest.approx(BATCH_MS["cpu"] / 2)
    assert witness_batch(20.0).batch_ms == pytest.approx(BATCH_MS["cpu"] / 4)


def test_the_referee_takes_as_many_calls_as_last_long_enough_by_its_own_clock():
    device, asked = open_device("cpu"), replace(witness_batch(0.5), workload=WORKLOAD)
    assert size_batch(device, replace(asked, batch_ms=1e-6)).launches == 1
    assert size_batch(device, replace(asked, batch_ms=1e6)).launches == device.max_shared_bytes // WORKLOAD.bytes
    assert size_batch(device, replace(witness_batch(0.5), batch_ms=1e6)).launches == MAX_LAUNCHES


@pytest.mark.parametrize("at_once", [1, 2**30])
@pytest.mark.parametrize("wrong", range(5))
def test_every_call_is_verified_however_many_are_read_at_once(wrong, at_once, monkeypatch):
    monkeypatch.setattr("gate.witness.trusted_side.VERIFIED_BYTES", at_once)
    asked = replace(witness_batch(0.5), workload=WORKLOAD, launches=5)
    batch, *rest = WORKLOAD.shape
    inputs = torch.randn(3, 5 * batch, *rest, generator=torch.Generator().manual_seed(0))
    out = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=WORKLOAD.causal)
    out[wrong * batch, 0, 0, 0] = math.nan
    off = [error for error, _ in output_errors(SimpleNamespace(private_inputs=inputs, outputs=out), asked)]
    assert [error < 1e-5 for error in off] == [call != wrong for call in range(5)]


class Queue(CpuDevice):
    """A device on which work is done when somebody waits for it. By its clock, each piece takes a millisecond."""

    def __init__(self):
        super().__init__()
        self.queued, self.now_ns = [], 0

    def synchronize(self):
        while self.queued:
            self.queued.pop()()
            self.now_ns += 1_000_000


@pytest.fixture
def queue(monkeypatch):
    device = Queue()
    monkeypatch.setattr("time.perf_counter_ns", lambda: device.now_ns)
    return device


def clock_on(device):
    asked = replace(witness_batch(0.5), workload=WORKLOAD, launches=2)
    return Clock(device, asked, *(device.allocate(shared_bytes(asked)) for _ in range(3)))


def test_work_that_is_still_queued_when_its_process_says_done_is_timed(queue):
    clock = clock_on(queue)
    assert clock.time_ms(clock.candidate, lambda: queue.queued.append(lambda: None)) == pytest.approx(1.0)


class Inputs:
    """Into which somebody looks while they are written."""

    def __init__(self, look):
        self._look = look

    def copy_(self, values):
        self._look()


def test_work_that_begins_while_its_inputs_are_still_written_is_timed(queue):
    clock = clock_on(queue)
    clock.candidate.inputs = Inputs(lambda: queue.queued.append(lambda: None))
    assert clock.time_ms(clock.candidate, lambda: None) == pytest.approx(1.0)


def test_what_writing_and_copying_take_by_themselves_is_taken_off(queue, monkeypatch):
    monkeypatch.setattr(queue, "synchronize", lambda: setattr(queue, "now_ns", queue.now_ns + 4_000_000))
    clock = clock_on(queue)
    assert clock.time_ms(clock.candidate, queue.synchronize) == pytest.approx(4.0)


def test_memory_is_taken_once_for_all_bouts(tmp_path, monkeypatch):
    """What one candidate maps in one batch must not become what it is not to see in the next."""
    device, taken = open_device("cpu"), []
    share, allocate = device.share, device.allocate
    monkeypatch.setattr(device, "share", lambda size, folder: taken.append(size) or share(size, folder))
    monkeypatch.setattr(device, "allocate", lambda size: taken.append(size) or allocate(size))
    small, large = (replace(witness_batch(0.5), workload=WORKLOAD, launches=launches) for launches in (2, 3))
    _, theirs, clocks = allocate_shared(device, tmp_path, [small, large])
    assert taken == [shared_bytes(large)] * 3
    for each in clocks:
        assert each.candidate.inputs.data_ptr() == theirs.memory.data_ptr()
        assert each.private_inputs.data_ptr() == clocks[0].private_inputs.data_ptr()


def test_a_candidate_that_no_witness_awaits_is_not_to_blame(tmp_path, monkeypatch):
    """It was not even loaded: that file does not exist."""
    monkeypatch.setattr(socket_channel, "CONNECT_S", 0.0)
    candidate_answer = run_candidate_side(
        CandidateSideRequest("cpu", str(tmp_path), "none", str(tmp_path / "none.py"))
    )
    assert candidate_answer == CandidateSideAnswer(Status.OK)
    trusted_answer = CallFailure(Status.OUT_OF_MEMORY, "the witness held 900 MB")
    assert [each.status for each in combine_answers(trusted_answer, [candidate_answer], 2)] == [
        Status.ENVIRONMENT
    ] * 2


class Recorded:
    """A server whose endings are kept."""

    def __init__(self, server):
        self._server, self.endings = server, []

    def call(self, kind, requests, seconds):
        self.endings.append(self._server.call(kind, requests, seconds))
        return self.endings[-1]


class Dead:
    """A server whose jobs die at once."""

    def call(self, kind, requests, seconds):
        return ended(state=9)


def witness_of(trusted, server, *witness_batches, limit_s=DEADLINE_S):
    honest = adversarial("python_honest")
    return witness(trusted, server, "cpu", honest.name, honest.entry, witness_batches, limit_s)


def test_no_limit_of_the_candidates_ends_the_witness(witness_server, server, monkeypatch):
    monkeypatch.setattr(witness_server, "_limits", examples.limits(file_mb=1, memory_mb=1))
    (seen,) = witness_of(
        witness_server, server, replace(witness_batch(0.5), workload=WORKLOAD, batch_ms=1e6, launches=4)
    )
    assert seen.status is Status.OK, seen.message
    assert seen.launches * WORKLOAD.bytes > 1 << 20


def test_a_candidates_process_does_not_wait_for_a_witness_that_is_dead(server):
    """Within a limit that is shorter than the time for which it would wait for a living one."""
    recorded = Recorded(server)
    (seen,) = witness_of(Dead(), recorded, witness_batch(0.5), limit_s=socket_channel.CONNECT_S / 2)
    assert (seen.status, seen.message) == (Status.ENVIRONMENT, "the witness was ended by SIGKILL")
    assert [each.status for each in recorded.endings] == [Status.OK]


def test_a_witness_does_not_wait_for_a_candidates_process_that_is_dead(witness_server):
    (seen,) = witness_of(witness_server, Dead(), witness_batch(0.5), limit_s=socket_channel.CONNECT_S / 2 - GRACE_S)
    assert seen.status is Status.ENVIRONMENT  # it had loaded no candidate
    assert seen.message.endswith("before it connected: the candidate's process was ended by SIGKILL")


def test_a_process_that_leaves_before_the_candidate_is_loaded_is_noticed_between_two_steps():
    ours, theirs = socket.socketpair()
    with ours:
        waits = socket_channel.Channel(ours, socket_channel.AbsentError)
        steps = _while_connected(waits, ["first", "second"])
        assert next(steps) == "first"
        theirs.close()
        with pytest.raises(socket_channel.AbsentError, match="disconnected"):
            next(steps)


def test_two_processes_meet_in_a_folder_whose_path_is_longer_than_a_sockets_may_be(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()

    def send():
        with socket_channel.connected(folder) as line:
            line.send(Reply("here"))

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        with socket_channel.listening(folder) as line:
            line.expect("here")
        sent.result()


def test_what_was_not_timed_has_no_witness():
    assert witness_batch_of(examples.evaluation(trial=None), "cpu") is None


def test_a_witness_that_lost_the_candidate_tells_how_its_process_ended():
    lost = [TrustedSideAnswer((saw(0.8), Witness(Status.CRASHED, "the other side disconnected")))]
    ended = CallFailure(Status.TIMED_OUT, "did not end within 120 s")
    first, second = combine_answers(lost, ended, 2)
    assert first.status is Status.OK
    assert (second.status, second.message) == (Status.TIMED_OUT, "did not end within 120 s")
    assert combine_answers(lost, [CandidateSideAnswer(Status.OK)], 2)[1].message == "the other side disconnected"


@pytest.mark.parametrize("candidate_answer", [Status.CRASHED, Status.TIMED_OUT, Status.OUT_OF_MEMORY])
def test_a_witness_that_died_is_the_machines_fault_however_the_candidate_ended_then(candidate_answer):
    (seen,) = combine_answers(
        CallFailure(Status.CRASHED, "SIGBUS"), CallFailure(candidate_answer, "the candidate"), 1
    )
    assert (seen.status, seen.message) == (Status.ENVIRONMENT, "SIGBUS")


def test_a_candidate_that_hangs_is_to_blame_and_not_its_witness():
    (seen,) = combine_answers(
        CallFailure(Status.TIMED_OUT, "the witness"), CallFailure(Status.TIMED_OUT, "the candidate"), 1
    )
    assert (seen.status, seen.message) == (Status.TIMED_OUT, "the candidate")


def test_a_witness_that_failed_itself_is_the_machines_fault():
    (seen,) = combine_answers(CallFailure(Status.CRASHED, "SIGBUS"), [CandidateSideAnswer(Status.OK)], 1)
    assert seen.status is Status.ENVIRONMENT
    assert "SIGBUS" in seen.message


def test_the_witness_is_part_of_the_evidence(witnessed):
    from gate.records.codec import to_json

    seen, _ = witnessed(adversarial("python_honest"))
    assert set(json.loads(to_json(seen))["witness"]) >= {"candidate_ms", "baseline_local_ms", "launches"}
