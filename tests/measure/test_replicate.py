"""One replicate, in this process: what is timed, in which order, and what of it is checked."""

from dataclasses import replace

import pytest
import torch

from gate.measure import replicate
from gate.measure.replicate import run_replicate
from gate.measure.trial import candidate_arms, replicate_request, sdpa_arms
from gate.records import Status
from gate.runtime import execution
from gate.runtime.device import open_device
from gate.runtime.implementations import BoundCall, Empty, Implementation, SdpaBackend
from gate.sandbox.protocol import Pace
from tests.support import examples

ARMS = ["baseline", "baseline_again", "candidate", "empty"]


class Playing(Implementation):
    """Right, and then spoiled by a test; keeps a diary of who played when."""

    def __init__(self, name, diary, spoil):
        self.name, self.diary, self.spoil = name, diary, spoil

    def bind(self, operands, device):
        self.diary.append(f"made {self.name}")
        inner = SdpaBackend("math").bind(operands, device).launch
        calls = []

        def launch():
            calls.append(1)
            self.diary.append(self.name)
            operands.out.copy_(inner())
            self.spoil(operands, len(calls))
            return operands.out

        return BoundCall(launch)


@pytest.fixture
def plan():
    made = replicate_request(
        examples.workload(seq_len=16), candidate_arms("mine", "flash"), examples.settings(), "cpu",
        source="x.so", sdpa_max_abs_err=1e-6,
    )  # fmt: skip
    return replace(made, seed=5, rounds=3, warmup_rounds=2)


@pytest.fixture
def attempt(monkeypatch):
    """Runs a plan; `spoil(operands, number_of_call)` has its way with what plays the arm `spoiled`."""

    def run(plan, spoil=lambda operands, call: None, spoiled="mine"):
        diary = []

        def opened(name, source):
            assert (source is None) == (name == "empty")
            return Empty() if name == "empty" else Playing(name, diary, spoil if name == spoiled else lambda *_: None)

        monkeypatch.setattr(replicate, "open_implementation", opened)
        return run_replicate(plan, open_device(plan.device)), diary

    return run


def test_every_round_times_every_arm_once(plan, attempt):
    done, diary = attempt(plan)
    assert done.status is Status.OK
    assert [len(times) for times in done.replicate.times_ms] == [4, 4, 4]
    assert diary.count("mine") == 3 + 2
    assert diary.count("sdpa:flash") == 2 * (3 + 2)


class Clock:
    """Stands for the module `time` in gate.measure.replicate: a second passes whenever it is read."""

    now = 0.0

    def perf_counter(self):
        self.now += 1.0
        return self.now


def test_rounds_that_will_not_fit_are_given_up_after_two_and_tell_their_pace(plan, attempt, monkeypatch):
    monkeypatch.setattr(replicate, "time", Clock())
    done, diary = attempt(replace(plan, budget_s=4.5))
    assert (done.status, done.pace, done.replicate) == (Status.TOO_SLOW, Pace(1.0, 1.0), None)
    assert diary.count("mine") == 2


def test_rounds_that_fit_are_all_timed(plan, attempt, monkeypatch):
    monkeypatch.setattr(replicate, "time", Clock())
    assert attempt(replace(plan, budget_s=5.0))[0].status is Status.OK
    assert attempt(plan)[0].status is Status.OK


def test_the_warm_up_is_dropped(plan, attempt, monkeypatch):
    clock = iter(range(1, 100))
    monkeypatch.setattr(execution.Execution, "time_ms", lambda self: (self.run(), float(next(clock)))[1])
    done, _ = attempt(plan)
    times = sorted(time for times in done.replicate.times_ms for time in times)
    assert times == [float(number) for number in range(9, 21)]


def test_times_stand_in_the_plans_order_of_arms(plan, attempt, monkeypatch):
    real = execution.Execution.time_ms
    times = {"Empty": 1.0, "Playing": 2.0}
    monkeypatch.setattr(
        execution.Execution, "time_ms", lambda self: (real(self), times[type(self._implementation).__name__])[1]
    )
    done, _ = attempt(plan)
    assert done.replicate.times_ms == ((2.0, 2.0, 2.0, 1.0),) * 3


def test_a_seed_fixes_the_order_of_everything(plan, attempt):
    (first, diary), (second, same) = attempt(plan), attempt(plan)
    assert diary == same
    assert first.replicate.creation_order == second.replicate.creation_order
    assert first.replicate.seed == 5


def test_other_seeds_give_other_orders(plan, attempt):
    runs = [attempt(replace(plan, seed=seed)) for seed in range(8)]
    assert len({done.replicate.creation_order for done, _ in runs}) > 2
    assert len({tuple(diary) for _, diary in runs}) > 2


def test_rounds_are_shuffled_one_by_one(plan, attempt):
    _, diary = attempt(replace(plan, rounds=20))
    played = [name for name in diary if not name.startswith("made")]
    rounds = {tuple(played[start : start + 3]) for start in range(0, len(played), 3)}
    assert len(rounds) == 3  # where the candidate comes first, second and third


WRONG = {
    "an output that is off": (lambda each: each.out.view(-1)[0].add_(0.01), "off by"),
    "an output that is NaN": (lambda each: each.out.view(-1)[0].fill_(float("nan")), "off by nan"),
    "an output that is not written": (lambda each: each.out.fill_(float("nan")), "off by nan"),
    "an input that is written to": (lambda each: each.k.mul_(2.0), "wrote to k"),
    "an output that is replaced": (lambda each: each.out.set_(each.out.clone()), "replaced out"),
}


@pytest.mark.parametrize(("spoil", "words"), WRONG.values(), ids=WRONG)
def test_what_is_timed_is_what_is_checked(spoil, words, plan, attempt):
    done, diary = attempt(plan, lambda operands, call: spoil(operands) if call == 4 else None)
    assert done.status is Status.INCORRECT
    assert done.message.startswith("round 3: ")
    assert words in done.message
    assert done.replicate is None
    assert diary.count("mine") == 4


def test_the_warm_up_is_checked_too(plan, attempt):
    done, _ = attempt(plan, lambda operands, call: operands.out.mul_(1.01))
    assert done.status is Status.INCORRECT
    assert done.message.startswith("round 0: ")


def test_a_wrong_baseline_is_the_machines_fault(plan, attempt):
    done, _ = attempt(plan, lambda operands, call: operands.out.mul_(1.01), spoiled="sdpa:flash")
    assert done.status is Status.ENVIRONMENT


def test_an_error_just_within_the_limit_is_no_complaint(plan, attempt):
    done, _ = attempt(plan, lambda operands, call: operands.out.add_(1e-6))
    assert done.status is Status.OK


def test_inputs_are_new_in_every_round(plan, attempt):
    seen = []
    attempt(plan, lambda operands, call: seen.append(operands.q.clone()))
    assert not any(torch.equal(seen[0], other) for other in seen[1:])


def test_without_a_candidate_the_tolerance_is_the_limit(plan, attempt):
    alone = replace(plan, arms=sdpa_arms(["flash", "math"]), sdpa_max_abs_err=None, candidate="x.so")
    spoiled = {"spoiled": "sdpa:math"}
    assert attempt(alone, lambda operands, call: operands.out.add_(5e-6), **spoiled)[0].status is Status.OK
    assert attempt(alone, lambda operands, call: operands.out.add_(1e-3), **spoiled)[0].status is Status.ENVIRONMENT


def test_a_replicate_knows_how_long_it_took_and_what_it_held(plan, attempt):
    done, _ = attempt(plan)
    assert done.replicate.seconds > 0
    assert done.replicate.peak_bytes > 0
