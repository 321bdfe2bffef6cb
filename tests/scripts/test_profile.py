"""`kernel-gate profile`, from a request to a table; the counters are recorded ones."""

from dataclasses import replace

import pytest

from gate.candidates.registry import find_candidate
from gate.errors import BadInputError, UnwritableOutputError
from gate.profiling import command
from gate.profiling.stage import profile_evaluations, profile_workloads, wanted_counters
from gate.records import Ceilings, Evaluation, Measurement, Outcome, Policy, Profile, Status
from gate.report.profile import profile_text
from gate.report.roofline_plot import form_of, points, roofline, roofs, save
from tests.support import examples
from tests.support.profiles import H200, LARGE, MIDDLE, kernel, profile, recorded

CEILINGS = Ceilings(4.0e12, {"float16": 7.0e14})


def measurement(*profiles, workloads=(LARGE,), **changes):
    evaluations = tuple(Evaluation(each, profiles=profiles) for each in workloads)
    environment = examples.environment(gpu=H200, device_name="NVIDIA H200")
    made = Measurement(environment, workloads, evaluations=evaluations)
    return replace(made, **changes)


BOTH = (
    profile(kernel(), impl="wmma"),
    replace(recorded(2), ceilings=CEILINGS, missing={"tensor_instructions": "reported without a number"}),
)


def test_without_ncu_the_answer_is_one_line_the_remedy_and_69(kernel_gate, no_cuda_tools):
    said = kernel_gate("profile", "--impl", "wmma", "--shape", "32,8,512,64")
    assert said.code == 69
    assert "ncu is not installed" in said.complaint
    assert "install Nsight Compute" in said.complaint


@pytest.mark.parametrize("options", [(), ("--impl", "wmma", "--backend", "flash")])
def test_either_a_candidate_or_a_backend_is_named(kernel_gate, options):
    assert "--impl and --backend" in kernel_gate("profile", *options).complaint


def test_a_cpu_has_no_counters(kernel_gate):
    said = kernel_gate("profile", "--impl", "cpu_tiled")
    assert (said.code, "use --device cuda" in said.complaint) == (64, True)


def test_the_table_has_both_sides_and_what_differs():
    text = profile_text(measurement(*BOTH))
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["duration µs"][-3:] == ["50.00", "69.86", "0.72"]
    assert lines["bound by"][-2:] == ["latency", "latency"]
    assert "sdpa:flash: tensor_instructions: not measured: reported without a number" in text
    assert "wmma: It computes" in text
    assert "0.72 times as long as those of sdpa:flash" in text
    assert "Most promising next" in text


def test_an_absent_counter_is_not_measured_and_never_zero():
    text = profile_text(measurement(profile(kernel(without=("l2_hit_pct",)), missing={"l2_hit_pct": "nan"})))
    row = next(line for line in text.splitlines() if line.startswith("L2 hits %"))
    assert row.split("  ")[-1].strip() == "not measured"


def test_a_call_that_could_not_be_profiled_says_why():
    text = profile_text(measurement(Profile("wmma", Status.ENVIRONMENT, "no ncu; install it")))
    assert "wmma: not measured: no ncu; install it" in text


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.OK, Outcome.PASS),
        (Status.ENVIRONMENT, Outcome.ENVIRONMENT),
        (Status.TIMED_OUT, Outcome.FAILED),
    ],
)
def test_how_the_profiling_went_is_how_the_candidates_did(status, outcome):
    mine = profile() if status is Status.OK else Profile("wmma", status, "a reason; a remedy")
    assert command.profiling_outcome(measurement(mine, BOTH[1])) is outcome


def asked(monkeypatch, candidate=None, built=None, workloads=(MIDDLE, LARGE), answer=None):
    requests = []

    def profile_calls(profiler, request):
        requests.append(request)
        return [replace(answer or profile(), implementation=call.implementation) for call in request.calls]

    monkeypatch.setattr("gate.profiling.stage.profile_calls", profile_calls)
    baselines = dict.fromkeys(workloads, "sdpa:flash")
    settings = examples.settings()
    seen = profile_workloads(settings, candidate, built, baselines, lambda: "a profiler")
    return seen, requests


def test_without_a_profiler_every_call_says_why(monkeypatch):
    seen, requests = asked(monkeypatch)
    assert requests == []
    assert [each[0].message for each in seen.values()] == ["a profiler"] * 2


def test_the_baseline_never_shares_a_process_with_the_candidate(monkeypatch, python_candidate):
    folder = python_candidate("def attention(*a): pass", "mine", tensor_cores="true")
    candidate = find_candidate("mine", folder.parent)
    requests = []

    def profile_calls(profiler, request):
        requests.append(request)
        return [replace(profile(), implementation=call.implementation) for call in request.calls]

    monkeypatch.setattr("gate.profiling.stage.profile_calls", profile_calls)
    seen = profile_workloads(
        examples.settings(), candidate, examples.build(library=None), {LARGE: "sdpa:cudnn", MIDDLE: "sdpa:flash"},
        object,
    )  # fmt: skip
    mine, theirs = requests
    assert mine.candidate == candidate.entry
    assert {call.implementation for call in mine.calls} == {"mine"}
    assert (theirs.candidate, theirs.ceilings) == (None, True)
    assert [call.implementation for call in theirs.calls] == ["sdpa:cudnn", "sdpa:flash"]
    assert [each.implementation for each in seen[MIDDLE]] == ["mine", "sdpa:flash"]
    assert seen[LARGE][0].claims_tensor_cores


def test_only_what_was_timed_is_profiled():
    untimed = Evaluation(LARGE, examples.incorrect())
    seen = profile_evaluations(examples.settings(), None, None, [untimed], None, lambda: "never asked")
    assert seen == [untimed]


@pytest.mark.parametrize(
    ("asked", "device", "required", "there", "wanted"),
    [
        ("worst", "cuda", False, True, 1),
        ("worst", "cuda", False, False, 0),
        ("worst", "cuda", True, False, None),
        ("worst", "cpu", False, True, 0),
        ("none", "cuda", False, True, 0),
        ("none", "cuda", True, True, None),
        ("all", "cuda", False, False, None),
    ],
)
def test_counters_are_read_where_asked_for_or_possible(monkeypatch, asked, device, required, there, wanted):
    monkeypatch.setattr("gate.profiling.stage.find_tool", lambda _: "/usr/bin/ncu" if there else None)
    assert wanted_counters(asked, device, Policy(require_profile=required)) == wanted


def test_all_counters_cannot_be_asked_for_without_a_gpu():
    with pytest.raises(BadInputError, match="leave --ncu off"):
        wanted_counters("all", "cpu", Policy())


def test_counters_of_one_workload_are_those_where_the_candidate_does_worst():
    fast = examples.evaluation(trial=examples.trial(0.5))
    slow = replace(examples.evaluation(trial=examples.trial(1.5)), workload=LARGE)
    asked = []

    def opened():
        return "no ncu here"

    for most in (1, None):
        seen = profile_evaluations(
            examples.settings(),
            find_candidate("honest", examples.ADVERSARIAL),
            examples.build(),
            [fast, slow],
            most,
            opened,
        )
        asked.append([bool(each.profiles) for each in seen])
    assert asked == [[False, True], [True, True]]


def test_the_roofline_shows_every_call_under_its_ceilings():
    measured = measurement(*BOTH)
    assert [(each.implementation, each.is_baseline) for each in points(measured)] == [
        ("wmma", False),
        ("sdpa:flash", True),
    ]
    assert set(roofs(measured)) == {"measured float16", "theoretical float16"}
    assert roofs(measured)["measured float16"].ridge == pytest.approx(175)


def test_the_picture_names_what_it_shows_and_is_the_same_each_time():
    first, again = (roofline(measurement(*BOTH)) for _ in range(2))
    assert first == again
    for words in (b"wmma 32,8,512,64 float16", b"sdpa:flash", b"measured float16: 700 TFLOP/s, 4.00 TB/s"):
        assert words in first
    assert roofline(measurement(*BOTH), "png").startswith(b"\x89PNG")


def test_a_gpu_without_known_ceilings_is_drawn_without_them():
    unknown = examples.environment(gpu=None)
    assert roofline(measurement(profile(), environment=unknown)).startswith(b"<?xml")


def test_nothing_is_drawn_where_nothing_was_counted(tmp_path):
    assert roofline(measurement()) == b""
    assert not save(measurement(), tmp_path / "roofline.svg", "svg")


def test_the_picture_is_written_where_asked(tmp_path):
    path = tmp_path / "plots" / "roofline.svg"
    assert save(measurement(*BOTH), path, "svg")
    assert path.read_bytes().startswith(b"<?xml")
    with pytest.raises(UnwritableOutputError, match="choose a writable output path"):
        save(measurement(*BOTH), tmp_path, "svg")


def test_other_endings_are_refused(tmp_path):
    assert form_of(tmp_path / "roofline.PNG") == "png"
    with pytest.raises(BadInputError, match="use the suffix"):
        form_of(tmp_path / "roofline.jpg")
