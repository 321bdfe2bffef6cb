"""How endings of processes become evidence. The fork server is a list of endings here."""

import json
from dataclasses import replace

import pytest

from gate.analysis.comparison import compare
from gate.candidates.registry import find_candidate
from gate.check.request import check_candidate
from gate.errors import UnfitEnvironmentError
from gate.measure.trial import candidate_arms, replicate_request, sdpa_arms, take_trials
from gate.records import Case, Evaluation, Outcome, Policy, Status
from gate.sandbox.protocol import CHECK, Called, Pace, ReplicateAnswer
from gate.session import describe_environment
from gate.verdict.judge import judge
from tests.support import examples
from tests.support.jobs import answering, answers_in, ended

CRASH = ended(state=11, output="last words\n")
TIMEOUT = ended(state=9, cause="time", seconds=60.0)
HOG = ended(state=9, cause="memory", peak_bytes=900 << 20)
GARBAGE = ended(b"Segmentation fault")
DEEP = ended(b"[" * 1_000_000)


class Endings:
    """Stands for the fork server: hands out these endings to each single request, and keeps what it was asked."""

    def __init__(self, *endings):
        self.endings, self.asked = list(endings), []

    def call(self, kind, requests, seconds):
        (request,) = requests
        self.asked.append((kind.name, request, seconds))
        control = answering(examples.correctness()) if kind is CHECK else answers()
        ending = self.endings.pop(0) if self.endings else control  # SDPA alone
        return ending(request) if callable(ending) else ending


def answers(**changes):
    """The ending of a replicate that does what its plan says, but for `changes`."""

    def ending(plan):
        times = {arm: [1.0] * plan.rounds for arm in plan.arms}
        return answering(ReplicateAnswer(Status.OK, replicate=examples.replicate(times, plan.seed, **changes)))

    return ending


@pytest.fixture
def plan():
    return replicate_request(
        examples.workload(), candidate_arms("mine", "flash"), examples.settings(), "cpu", source="x.so"
    )


def taken(plan, *endings, interim_replicates=(3,), is_clear=lambda trial: True):
    return take_trial(Endings(*endings), plan, interim_replicates, is_clear)


def take_trial(
    server, plan, interim_replicates, is_clear=lambda trial: True, limit_s=60.0, progress=lambda done: None
):
    (trial,) = take_trials(
        server, [plan], interim_replicates, limit_s, lambda trial, workload: is_clear(trial), progress
    )
    return trial


def checked(*endings, **changes):
    server, candidate = Endings(*endings), find_candidate("honest", examples.ADVERSARIAL)
    (seen,) = check_candidate(
        server, candidate, "x.so", {Case(examples.workload(**changes)): 1}, "cpu", examples.settings()
    )
    return seen


def test_a_trial_has_as_many_replicates_as_were_asked_for(plan):
    trial = taken(plan, answers(), answers(), answers())
    assert (trial.status, len(trial.replicates)) == (Status.OK, 3)
    assert [arm.implementation for arm in trial.arms] == ["sdpa:flash", "sdpa:flash", "mine", "empty"]


def test_every_replicate_gets_a_seed_of_its_own(plan):
    trial = taken(plan, answers(), answers(), answers())
    assert len({replicate.seed for replicate in trial.replicates}) == 3


def test_every_replicate_gets_the_plan_and_its_limit(plan):
    server = Endings(answers())
    take_trial(server, plan, (1,), limit_s=12.5)
    kind, asked, seconds = server.asked[0]
    assert (kind, seconds) == ("replicate", 12.5)
    assert (asked.rounds, asked.warmup_rounds, asked.candidate) == (4, 4, "x.so")


def test_progress_counts_the_replicates_that_are_done(plan):
    seen = []
    take_trial(Endings(answers(), answers()), plan, (2,), progress=seen.append)
    assert seen == [0, 1]


def test_a_trial_ends_at_the_first_interim_analysis_that_is_clear(plan):
    trial = taken(
        plan, *[answers()] * 6, interim_replicates=(2, 4, 6), is_clear=lambda trial: len(trial.replicates) == 4
    )
    assert (len(trial.replicates), trial.interim_replicates) == (4, (2, 4, 6))


def test_a_trial_ends_at_the_last_look_even_if_nothing_is_clear(plan):
    assert len(taken(plan, *[answers()] * 4, interim_replicates=(2, 4), is_clear=lambda trial: False).replicates) == 4


ENDINGS = {
    "a crash": (CRASH, Status.CRASHED, "was ended by SIGSEGV: last words"),
    "a timeout": (TIMEOUT, Status.TIMED_OUT, "did not end within 60 s"),
    "too much memory": (HOG, Status.OUT_OF_MEMORY, "held 900 MB"),
    "garbage": (GARBAGE, Status.CRASHED, "is not a record"),
    "garbage that is nested deep": (DEEP, Status.CRASHED, "is not a record"),
}


@pytest.mark.parametrize(("ending", "status", "words"), ENDINGS.values(), ids=ENDINGS)
def test_a_trial_ends_at_the_first_failure_and_keeps_what_came_before(ending, status, words, plan):
    trial = taken(plan, answers(), ending, answers())
    assert trial.status is status
    assert words in trial.message
    assert len(trial.replicates) == 1


def test_a_failure_that_the_baseline_alone_shows_too_is_the_machines(plan):
    trial = taken(plan, answers(), CRASH, CRASH)
    assert (trial.status, len(trial.replicates)) == (Status.ENVIRONMENT, 1)
    assert "the baseline alone fails too" in trial.message


def test_the_control_run_does_not_load_the_candidate(plan):
    server = Endings(CRASH)
    take_trial(server, plan, (1,))
    (_, first, _), (_, control, _) = server.asked
    assert (first.candidate, control.candidate) == ("x.so", None)
    assert set(first.arms) - set(control.arms) == {"candidate"}


def test_an_arm_that_cannot_be_captured_is_launched_directly_from_then_on(plan):
    refused = answering(ReplicateAnswer(Status.UNSUPPORTED, "no graph", uncapturable="candidate"))
    server = Endings(refused, answers(uncaptured=("candidate",)), answers(uncaptured=("candidate",)))
    trial = take_trial(server, plan, (2,))
    assert [asked.uncaptured for _, asked, _ in server.asked] == [(), ("candidate",), ("candidate",)]
    assert [replicate.uncaptured for replicate in trial.replicates] == [("candidate",)] * 2


def test_an_arm_that_can_be_captured_in_no_way_ends_the_trial(plan):
    refused = answering(ReplicateAnswer(Status.UNSUPPORTED, "no graph", uncapturable="candidate"))
    assert taken(plan, refused, refused).status is Status.UNSUPPORTED


def paced(first_s, round_s):
    return answering(ReplicateAnswer(Status.TOO_SLOW, "34 rounds take long", pace=Pace(first_s, round_s)))


def test_a_slow_candidate_is_timed_with_fewer_rounds_and_the_trial_says_so(plan):
    server = Endings(paced(4.0, 4.0), answers(), answers())
    trial = take_trial(server, replace(plan, rounds=30, warmup_rounds=5), (2,))
    assert [(asked.rounds, asked.warmup_rounds) for _, asked, _ in server.asked] == [(30, 5), (4, 1), (4, 1)]
    assert (trial.status, trial.warmup_rounds, trial.planned_rounds) == (Status.OK, 1, 30)
    warnings = compare(Evaluation(plan.workload, trial=trial), Policy()).warnings
    assert warnings[-1].startswith("only 4 of 30 rounds")


def test_what_fits_the_whole_limit_keeps_its_rounds(plan):
    trial = take_trial(Endings(paced(1.0, 0.1), answers()), plan, (1,))
    assert (len(trial.replicates[0].times_ms), trial.planned_rounds) == (4, None)


def test_a_pace_is_asked_for_only_until_one_is_known(plan):
    server = Endings(answers(), answers())
    take_trial(server, plan, (2,), limit_s=60.0)
    assert [asked.budget_s for _, asked, _ in server.asked] == [48.0, None]


def test_a_pace_that_nobody_asked_for_is_another_plan(plan):
    trial = taken(plan, answers(), paced(1.0, 1.0))
    assert (trial.status, len(trial.replicates)) == (Status.CRASHED, 1)
    assert "another plan" in trial.message


def test_a_candidate_that_was_slow_in_its_check_and_shows_no_pace_is_too_slow(plan):
    trial = taken(replace(plan, call_ms=25_000.0), TIMEOUT)
    assert trial.status is Status.TOO_SLOW
    assert "25,000 times as long" in trial.message
    gate = next(each for each in judge(rejected(trial), Policy()).verdict.gates if each.name == "speedup")
    assert gate.outcome is Outcome.REJECTED


def test_a_candidate_that_was_quick_in_its_check_hangs(plan):
    trial = taken(replace(plan, call_ms=1.0), TIMEOUT)
    assert trial.status is Status.TIMED_OUT
    assert "limits.replicate_s" in trial.message


def rejected(trial):
    return examples.measurement(examples.evaluation(trial=replace(trial, arms=examples.trial().arms)))


def test_an_arm_that_nobody_asked_for_cannot_keep_a_trial_open(plan):
    made_up = answering(ReplicateAnswer(Status.UNSUPPORTED, "no graph", uncapturable="another"))
    assert taken(plan, made_up, made_up).status is Status.UNSUPPORTED


def test_arms_that_were_launched_directly_unasked_are_another_plans(plan):
    trial = taken(plan, answers(uncaptured=("candidate",)))
    assert trial.status is Status.CRASHED
    assert "another plan" in trial.message


def test_a_wrong_output_ends_a_trial_as_incorrect(plan):
    trial = taken(plan, answering(ReplicateAnswer(Status.INCORRECT, "round 3: off by 1")))
    assert (trial.status, trial.message) == (Status.INCORRECT, "round 3: off by 1")


FORGED = {
    "another seed": {"seed": 1},
    "fewer rounds": {"times_ms": ((1.0, 1.0, 1.0, 1.0),)},
    "other arms": {"creation_order": ("baseline", "baseline_again", "candidate", "mine")},
    "fewer arms": {"creation_order": ("candidate",), "times_ms": ((1.0,),) * 4},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_a_replicate_that_does_not_follow_its_plan_is_a_crash(changes, plan):
    def forged(asked):
        (attempt,) = answers_in(answers()(asked))
        attempt["replicate"] |= changes
        return ended(json.dumps([attempt]).encode())

    trial = taken(plan, forged)
    assert trial.status is Status.CRASHED
    assert trial.replicates == ()


@pytest.mark.parametrize("time", ["NaN", "Infinity", "-1.0", "0.0", '"fast"', "null"])
def test_times_that_are_no_times_are_a_crash(time, plan):
    trial = taken(plan, lambda asked: ended(answers()(asked).reply.replace(b"1.0", time.encode(), 1)))
    assert trial.status is Status.CRASHED


def test_a_check_hands_on_what_the_process_found():
    assert checked(answering(examples.correctness())) == examples.correctness()
    assert checked(answering(examples.incorrect())) == examples.incorrect()


@pytest.mark.parametrize(("ending", "status", "words"), ENDINGS.values(), ids=ENDINGS)
def test_a_check_names_how_its_process_ended(ending, status, words):
    correctness = checked(ending)
    assert correctness.status is status
    assert words in correctness.message
    assert correctness.checks == ()


def test_a_check_that_contradicts_itself_is_a_crash():
    lie = answering(examples.incorrect()).reply.replace(b'"incorrect"', b'"ok"')
    assert checked(ended(lie)).status is Status.CRASHED


def test_a_workload_that_is_not_supported_starts_no_process():
    correctness = checked(dtype="float16")
    assert correctness.status is Status.UNSUPPORTED
    assert "float16" in correctness.message


def test_the_environment_is_as_the_worker_sees_it():
    environment = examples.environment()
    assert describe_environment(Endings(answering(environment)), "cpu") == environment


def test_a_device_that_cannot_be_opened_is_an_unfit_machine():
    crash = replace(CRASH, state=256, output="Traceback ...\nno such device\n")
    with pytest.raises(UnfitEnvironmentError, match=r"'cuda'.*no such device.*doctor"):
        describe_environment(Endings(crash), "cuda")


def test_the_arms_are_baseline_twice_candidate_and_empty():
    assert candidate_arms("mine", "flash") == {
        "baseline": "sdpa:flash", "baseline_again": "sdpa:flash", "candidate": "mine", "empty": "empty",
    }  # fmt: skip


def test_every_backend_is_an_arm_of_its_own():
    assert sdpa_arms(["flash", "math"]) == {"flash": "sdpa:flash", "math": "sdpa:math", "empty": "empty"}


HUNG = "; if it is slow and does not hang, raise limits.check_s"


def test_a_check_that_is_ended_for_its_time_says_which_limit_to_raise():
    seen = checked(TIMEOUT)
    assert seen.status is Status.TIMED_OUT
    assert seen.message.endswith(HUNG)


@pytest.mark.parametrize("ending", [TIMEOUT, HOG], ids=["time", "memory"])
def test_a_check_that_sdpa_cannot_pass_either_is_laid_to_no_candidate(ending):
    seen = checked(ending, ending)
    assert seen.status is Status.ENVIRONMENT
    assert "SDPA itself cannot be checked here" in seen.message
    assert "smaller shape" in seen.message


CALLED = answering(Called(Status.OK))
PASSED = answering(examples.correctness())


def first_called(python_candidate, *endings):
    folder = python_candidate("")
    server, candidate = Endings(*endings), find_candidate(folder.name, folder.parent)
    case, settings = Case(examples.workload()), examples.settings()
    (seen,) = check_candidate(server, candidate, candidate.entry, {case: 1}, "cpu", settings)
    return seen, [(kind, seconds) for kind, _, seconds in server.asked]


def test_a_python_candidates_first_calls_have_the_time_of_a_build(python_candidate):
    seen, asked = first_called(python_candidate, CALLED, PASSED)
    limits = examples.limits()
    assert seen.status is Status.OK
    assert asked == [("first_call", limits.build_s), ("check", limits.check_s)]


def test_first_calls_that_take_longer_are_not_made_again(python_candidate):
    seen, asked = first_called(python_candidate, TIMEOUT)
    assert seen.status is Status.TIMED_OUT
    assert "did not end within 60 s" in seen.message
    assert "raise limits.build_s" in seen.message
    assert [kind for kind, _ in asked] == ["first_call"]


@pytest.mark.parametrize("ending", [CRASH, HOG, GARBAGE, answering(Called(Status.CRASHED, "raised"))])
def test_whatever_else_goes_wrong_in_a_first_call_is_for_the_check_to_say(ending, python_candidate):
    seen, asked = first_called(python_candidate, ending, PASSED)
    assert seen.status is Status.OK
    assert [kind for kind, _ in asked] == ["first_call", "check"]


def test_a_compiled_candidate_is_checked_at_once():
    server = Endings(PASSED)
    check_candidate(
        server,
        find_candidate("honest", examples.ADVERSARIAL),
        "x.so",
        {Case(examples.workload()): 1},
        "cpu",
        examples.settings(),
    )
    assert [kind for kind, _, _ in server.asked] == ["check"]
