"""Several requests to one process, and to one each where that process fails. The fork server is a function here."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from gate.measure.trial import candidate_arms, replicate_request, take_trials
from gate.records import Correctness, Status
from gate.sandbox import calls
from gate.sandbox.calls import CallFailure, call_each
from gate.sandbox.job import JobKind
from gate.sandbox.protocol import EnvironmentRequest, ReplicateAnswer
from tests.support import examples
from tests.support.jobs import answering, ended

CRASH = ended(state=11)
REQUESTS = [EnvironmentRequest(name) for name in ("a", "b", "c")]
KIND = JobKind("echo", EnvironmentRequest, EnvironmentRequest)


class Processes:
    """Stands for the fork server: a process dies if `dies` says so of its requests, and else `answer`s each."""

    def __init__(self, dies, answer=lambda request: request):
        self.dies, self.answer, self.asked = dies, answer, []

    def call(self, kind, requests, seconds):
        names = [request.device for request in requests]
        self.asked.append("".join(names))
        return CRASH if self.dies(names) else answering(*map(self.answer, requests))


@pytest.mark.parametrize(
    ("ending", "answer"), [(CRASH, None), (None, Correctness(Status.CRASHED, "OSError: No space left on device"))]
)
def test_a_crash_on_a_full_disk_is_the_machines_and_on_another_the_candidates(ending, answer, monkeypatch):
    server = SimpleNamespace(call=lambda kind, requests, seconds: answering(answer) if answer else ending)
    for fault, status in ((None, Status.CRASHED), ("the disk is full; free some", Status.ENVIRONMENT)):
        monkeypatch.setattr(calls, "full_disk", lambda fault=fault: fault)
        seen = calls.call(server, JobKind("check", EnvironmentRequest, Correctness), REQUESTS[:1], 1.0)
        (first,) = [seen] if isinstance(seen, CallFailure) else seen
        assert first.status is status
        assert fault is None or first.message == fault


def asked(dies, answer=lambda request: request, kind=KIND):
    server = Processes(dies, answer)
    return server.asked, call_each(server, kind, REQUESTS, 60.0)


def test_one_process_answers_all_requests():
    processes, answers = asked(lambda names: False)
    assert processes == ["abc"]
    assert answers == REQUESTS


def test_no_request_needs_no_process():
    assert call_each(Processes(lambda names: True), KIND, [], 60.0) == []


def test_a_request_that_kills_its_process_is_found_by_asking_each_alone():
    processes, answers = asked(lambda names: "b" in names)
    assert processes == ["abc", "a", "b", "c"]
    assert [isinstance(each, CallFailure) for each in answers] == [False, True, False]
    assert answers[1].status is Status.CRASHED


def test_a_process_that_bears_each_request_but_not_all_fails_them_all():
    _, answers = asked(lambda names: len(names) > 1)
    assert [each.status for each in answers] == [Status.CRASHED] * 3


def timed_out(clock, seconds):
    """Processes of one request take `seconds`, and one of several is ended for its time."""

    class Slow(Processes):
        def call(self, kind, requests, limit_s):
            ending = super().call(kind, requests, limit_s)
            clock.now += seconds
            return ending if len(requests) == 1 else replace(ending, cause="time")

    return call_each(Slow(lambda names: False), KIND, REQUESTS, 60.0)


@pytest.mark.parametrize(("seconds", "slow"), [(25.0, True), (1.0, False)])
def test_requests_that_are_slow_together_are_answered_alone_and_those_that_hang_together_are_not(
    seconds, slow, monkeypatch
):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: clock.now))
    answers = timed_out(clock, seconds)
    assert (answers == REQUESTS) == slow
    assert slow or [each.status for each in answers] == [Status.TIMED_OUT] * 3


def test_fewer_answers_than_requests_are_a_crash():
    class Short(Processes):
        def call(self, kind, requests, seconds):
            return super().call(kind, requests[:1], seconds)

    (failure, *_) = call_each(Short(lambda names: False), KIND, REQUESTS, 60.0)
    assert "1 answers to 3" in failure.message


def test_what_follows_a_fault_in_one_process_is_asked_again_alone():
    def answer(request):
        faulty = request.device == "b"
        status = Status.CRASHED if faulty else Status.UNSUPPORTED
        return ReplicateAnswer(status, "a sticky error" if faulty else "fine")

    processes, answers = asked(lambda names: False, answer, JobKind("replicate", EnvironmentRequest, ReplicateAnswer))
    assert processes == ["abc", "c"]
    assert [each.message for each in answers] == ["fine", "a sticky error", "fine"]


def test_what_follows_a_capture_that_failed_is_asked_again_alone():
    def answer(request):
        arm = "candidate" if request.device == "b" else None
        return ReplicateAnswer(Status.UNSUPPORTED, "no graph", uncapturable=arm)

    processes, _ = asked(lambda names: False, answer, JobKind("replicate", EnvironmentRequest, ReplicateAnswer))
    assert processes == ["abc", "c"]


class Timers:
    """Stands for the fork server: every plan gets a replicate, and every process is remembered by its workloads."""

    def __init__(self):
        self.processes = []

    def call(self, kind, requests, seconds):
        self.processes.append(sorted(request.workload.seq_len for request in requests))
        return answering(*map(self._replicate, requests))

    @staticmethod
    def _replicate(plan):
        times = {arm: [1.0] * plan.rounds for arm in plan.arms}
        return ReplicateAnswer(Status.OK, replicate=examples.replicate(times, plan.seed))


def test_a_process_takes_a_replicate_of_every_trial_that_is_still_open():
    plans = [
        replicate_request(
            examples.workload(seq_len=n), candidate_arms("mine", "flash"), examples.settings(), "cpu", source="x"
        )
        for n in (16, 32)
    ]
    server = Timers()
    trials = take_trials(
        server, plans, (1, 2, 3), 60.0, lambda trial, workload: workload.seq_len == 32, lambda done: None
    )
    assert server.processes == [[16, 32], [16], [16]]
    assert [len(trial.replicates) for trial in trials] == [3, 1]
