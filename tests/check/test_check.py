"""Every way to be wrong fails the check that is named after it."""

import math

import pytest
import torch

from gate.check import check as checking
from gate.check import oracle
from gate.check.accuracy import largest_error, ulp
from gate.check.check import check
from gate.records import Case, Evaluation, Status, Workload
from gate.runtime.device import open_device
from gate.runtime.implementations import BoundCall, Implementation, SdpaBackend
from gate.settings.model import Settings, Tolerance
from gate.verdict.gate_correctness import CHECKS, LAST_PLACE, correctness_gate
from tests.support import examples

TOLERANCE = Settings().tolerance["float32"]


class Answering(Implementation):
    """Writes the oracle's answer, after `spoil(out, operands, number_of_call)` had its way with it."""

    def __init__(self, spoil=lambda out, operands, call: None):
        self.spoil = spoil

    def bind(self, operands, device):
        calls = []

        def launch():
            calls.append(1)
            each = operands
            answer = oracle.attention(each.q, each.k, each.v, each.scale, each.causal)
            each.out.copy_(answer)
            self.spoil(each.out, each, len(calls))
            return each.out

        return BoundCall(launch)


def checked(
    spoil=lambda out, operands, call: None, tolerance=TOLERANCE, distribution="normal", budget_s=None, **changes
):
    case = Case(examples.workload(**changes), distribution)
    return check(open_device("cpu"), Answering(spoil), case, tolerance, seed=1, budget_s=budget_s)


def failed(correctness) -> list[str]:
    return [each.name for each in correctness.checks if not each.passed]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("seq_len", [1, 2, 17, 130])
def test_the_oracles_own_answer_passes(seq_len, causal):
    correctness = checked(seq_len=seq_len, causal=causal)
    assert (correctness.status, failed(correctness)) == (Status.OK, [])


def test_what_is_looked_at_is_what_the_verdict_asks_for():
    assert sorted(each.name for each in checked().checks) == sorted(CHECKS)


@pytest.mark.parametrize("dtype", LAST_PLACE)
def test_what_passes_errs_by_no_more_than_the_verdict_allows(dtype):
    biggest = torch.tensor(7.99)
    assert LAST_PLACE[dtype] == ulp(biggest, getattr(torch, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("backend", ["flash", "math"])
def test_sdpa_passes_its_own_check(backend, dtype):
    workload = examples.workload(dtype=dtype, seq_len=200)
    tolerance = Settings().tolerance[dtype]
    assert check(open_device("cpu"), SdpaBackend(backend), Case(workload), tolerance, seed=1).status is Status.OK


def drop_the_last_tile(out, operands, call):
    keys = operands.k.shape[2] - 16
    part = [each[:, :, :keys] for each in (operands.k, operands.v)]
    out.copy_(torch.nn.functional.scaled_dot_product_attention(operands.q, *part, scale=operands.scale))


def scale_wrongly(out, operands, call):
    answer = oracle.attention(operands.q, operands.k, operands.v, operands.scale * 1.03, operands.causal)
    out.copy_(answer)


def forget_causality(out, operands, call):
    out.copy_(oracle.attention(operands.q, operands.k, operands.v, operands.scale, False))


def answer_in_half_precision(out, operands, call):
    out.copy_(out.half())


ON_EVERY_INPUT = {
    "one element is NaN": (lambda out, *_: out.view(-1)[-1].fill_(math.nan), "finite"),
    "one element is infinite": (lambda out, *_: out.view(-1)[0].fill_(math.inf), "finite"),
    "one element is off": (lambda out, *_: out.view(-1)[77].add_(1e-3), "elementwise tolerance"),
    "all is one percent too large": (lambda out, *_: out.mul_(1.01), "elementwise tolerance"),
    "a constant": (lambda out, *_: out.fill_(0.0), "elementwise tolerance"),
    "the mean of v": (lambda out, operands, _: out.copy_(operands.v.mean(2, keepdim=True).expand_as(out)),
                      "elementwise tolerance"),
    "the last tile is dropped": (drop_the_last_tile, "elementwise tolerance"),
    "the scale is off by 3%": (scale_wrongly, "elementwise tolerance"),
    "half precision": (answer_in_half_precision, "accuracy of SDPA"),
    "worse than SDPA, within the tolerance": (lambda out, *_: out.add_(9e-6), "accuracy of SDPA"),
    "q is written to": (lambda out, operands, _: operands.q.mul_(2.0), "inputs unchanged"),
    "v becomes NaN": (lambda out, operands, _: operands.v.fill_(math.nan), "inputs unchanged"),
    "another storage": (lambda out, *_: out.set_(out.clone()), "own storage"),
    "another shape": (lambda out, *_: out.set_(torch.zeros(3, 1)), "own storage"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "name"), ON_EVERY_INPUT.values(), ids=ON_EVERY_INPUT)
def test_what_is_wrong_is_rejected_by_the_check_of_that_name(spoil, name):
    correctness = checked(spoil)
    assert correctness.status is Status.INCORRECT
    assert name in failed(correctness)
    assert correctness.message.split(":")[0] in failed(correctness)


def test_nan_passes_no_comparison():
    correctness = checked(lambda out, *_: out.view(-1)[7].fill_(math.nan))
    assert {"finite", "elementwise tolerance", "accuracy of SDPA"} <= set(failed(correctness))


def test_what_ignores_the_mask_is_rejected_where_it_matters():
    assert checked(forget_causality, causal=False).status is Status.OK
    assert checked(forget_causality, causal=True).status is Status.INCORRECT


def test_the_second_rule_catches_what_the_tolerance_lets_through():
    assert failed(checked(lambda out, *_: out.add_(9e-6))) == [
        "accuracy of SDPA", "accuracy of SDPA on other inputs",
    ]  # fmt: skip


def test_the_tolerance_catches_what_the_second_rule_lets_through():
    correctness = checked(lambda out, *_: out.add_(1e-7), tolerance=Tolerance(atol=1e-9, rtol=0.0))
    assert {name.partition(" on ")[0] for name in failed(correctness)} == {"elementwise tolerance"}


def test_a_stale_answer_fails_on_other_inputs_alone():
    kept = []

    def spoil(out, operands, call):
        kept.append(out.clone())
        out.copy_(kept[0])

    correctness = checked(spoil)
    assert {"responds to its inputs", "elementwise tolerance on other inputs"} <= set(failed(correctness))
    assert not {"finite", "elementwise tolerance", "accuracy of SDPA", "repeatable"} & set(failed(correctness))


def test_another_answer_on_the_same_inputs_is_not_repeatable():
    def last_bit(out, operands, call):
        if call == 2:
            out.view(-1)[0] = torch.nextafter(out.view(-1)[0], torch.tensor(math.inf))

    assert failed(checked(last_bit)) == ["repeatable"]


def test_evidence_names_the_first_element_that_is_off():
    correctness = checked(lambda out, *_: out[0, 1, 5, 3].add_(1.0))
    assert "out[0, 1, 5, 3]" in correctness.message
    assert "1 of 4096" in correctness.message


def test_the_errors_are_the_worst_of_both_inputs():
    def once(out, operands, call):
        if call == 3:
            out.view(-1)[0].add_(0.5)

    correctness = checked(once)
    assert correctness.max_abs_err == pytest.approx(0.5, abs=1e-5)
    assert 0 < correctness.sdpa_max_abs_err < 1e-5


def test_no_number_is_made_up_for_an_answer_of_nan():
    correctness = checked(lambda out, *_: out.fill_(math.nan))
    assert correctness.max_abs_err is None
    assert correctness.sdpa_max_abs_err > 0


def test_an_error_that_is_nan_counts_as_infinite():
    assert largest_error(torch.tensor([0.0, math.nan]), torch.zeros(2)) == math.inf
    assert largest_error(torch.tensor([0.0, -3.0]), torch.zeros(2)) == 3.0


@pytest.mark.parametrize(
    ("largest", "dtype", "expected"),
    [
        (1.0, torch.float32, 2.0**-23),
        (1.99, torch.float32, 2.0**-23),
        (2.0, torch.float32, 2.0**-22),
        (0.75, torch.float16, 2.0**-11),
        (1.0, torch.bfloat16, 2.0**-7),
        (0.0, torch.float32, 2.0**-149),
        (2.0**-20, torch.float16, 2.0**-24),
        (2.0**-140, torch.bfloat16, 2.0**-133),
    ],
)
def test_an_ulp_is_that_of_the_largest_magnitude(largest, dtype, expected):
    assert ulp(torch.tensor([0.0, -largest]), dtype) == expected


def no_maximum_subtracted(out, operands, call):
    scores = (operands.q @ operands.k.transpose(-1, -2)) * operands.scale
    weights = torch.exp(scores)
    out.copy_((weights / weights.sum(-1, keepdim=True)) @ operands.v)


def test_what_normal_inputs_do_not_show_large_logits_do():
    correctness = checked(no_maximum_subtracted)
    assert {name.partition(" on ")[2] for name in failed(correctness)} == {"large logits"}
    assert correctness.max_abs_err < 1e-5


def test_an_answer_that_ignores_its_inputs_is_named():
    answers = {}

    def spoil(out, operands, call):
        out.copy_(answers.setdefault("first", out.clone()))

    assert "responds to its inputs" in failed(checked(spoil))


def test_the_same_answer_is_right_where_the_right_ones_are_the_same():
    """Denormal float32 may be taken for zero: then every answer is zero."""
    correctness = checked(lambda out, *_: out.fill_(0.0), distribution="denormal")
    assert (correctness.status, failed(correctness)) == (Status.OK, [])


@pytest.mark.parametrize("distribution", ["uniform", "large_logits", "dominant_key", "constant", "denormal"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_oracles_own_answer_passes_on_every_distribution(distribution, causal):
    correctness = checked(distribution=distribution, causal=causal, seq_len=40)
    assert (correctness.status, failed(correctness)) == (Status.OK, [])


@pytest.mark.parametrize("distribution", ["uniform", "large_logits", "dominant_key"])
def test_a_wrong_answer_fails_on_every_distribution_that_tells_keys_apart(distribution):
    correctness = checked(drop_the_last_tile, distribution=distribution)
    assert correctness.status is Status.INCORRECT


def other_order(out, operands, call):
    """Right in float32, and in another order of summation than SDPA's: keys last to first, one head after another."""
    q, k, v = operands.q, operands.k.flip(2), operands.v.flip(2)
    scores = torch.stack([(q * k[:, :, j : j + 1]).flip(-1).sum(-1) for j in range(k.shape[2])], -1) * operands.scale
    out.copy_(torch.softmax(scores, -1) @ v)


@pytest.mark.parametrize("seq_len", [2, 3, 5, 17])
def test_a_right_kernel_is_not_accused_where_sdpa_errs_less_by_luck(seq_len):
    for seed in range(40):
        workload = Workload(1, 1, seq_len, 64, "float32")
        case = Case(workload, "large_logits")
        correctness = check(open_device("cpu"), Answering(other_order), case, TOLERANCE, seed)
        assert correctness.message == ""


def test_a_fault_says_where():
    correctness = checked(lambda out, *_: out[0, 1, 5:9, 3].add_(1.0))
    assert (correctness.fault.head, correctness.fault.rows, correctness.fault.columns) == (1, (5, 8), (3, 3))
    assert checked().fault is None


def test_a_fault_on_other_inputs_says_so():
    def later(out, operands, call):
        if call > 2:
            out.add_(1.0)

    assert checked(later).fault.inputs == "on other inputs"


@pytest.mark.parametrize("layout", ["contiguous", "heads_inside", "padded_rows", "odd_rows"])
def test_the_oracles_own_answer_passes_in_every_layout(layout):
    correctness = check(
        open_device("cpu"), Answering(), Case(examples.workload(seq_len=17), layout=layout), TOLERANCE, seed=1
    )
    assert (correctness.status, failed(correctness)) == (Status.OK, [])


def as_if_contiguous(out, operands, call):
    """What a kernel does that knows of no strides: its rows follow one another in memory."""
    rows = torch.as_strided(out, (out.numel(),), (1,), out.storage_offset())
    rows.copy_(out.clone().reshape(-1))


@pytest.mark.parametrize(
    ("layout", "name"), [("heads_inside", "elementwise tolerance"), ("padded_rows", "within bounds")]
)
def test_a_kernel_that_ignores_strides_is_rejected(layout, name):
    case = Case(examples.workload(seq_len=17), layout=layout)
    correctness = check(open_device("cpu"), Answering(as_if_contiguous), case, TOLERANCE, seed=1)
    assert name in failed(correctness)


class Clock:
    """Stands for the module `time` in gate.check.check: a call of the candidate takes `call_s`, SDPA's `sdpa_s`."""

    def __init__(self, call_s, sdpa_s, monkeypatch):
        self.now = 0.0
        self.sdpa_s = sdpa_s
        self.slow = lambda *_: self.forward(call_s)
        monkeypatch.setattr(checking, "time", self)
        monkeypatch.setattr(checking, "sdpa_answer", lambda *_: self.forward(sdpa_s))

    def perf_counter(self):
        return self.now

    def forward(self, seconds):
        self.now += seconds


def test_a_check_tells_how_long_a_call_takes(monkeypatch):
    clock = Clock(2.0, 1.0, monkeypatch)
    seen = checked(clock.slow, budget_s=100.0)
    assert (seen.status, seen.call_ms) == (Status.OK, 2000.0)


def test_a_check_that_will_not_fit_is_given_up_after_two_calls(monkeypatch):
    clock = Clock(20.0, 0.01, monkeypatch)
    seen = checked(clock.slow, budget_s=70.0)
    assert clock.now == pytest.approx(40.01)
    assert (seen.status, seen.call_ms) == (Status.TOO_SLOW, 20_000.0)
    assert "2,000 times as long" in seen.message
    assert correctness_gate(Evaluation(examples.workload(), seen)).name == "speedup"


def test_a_check_that_will_not_fit_with_sdpa_either_is_the_requests_fault(monkeypatch):
    clock = Clock(20.0, 15.0, monkeypatch)
    assert checked(clock.slow, budget_s=70.0).status is Status.ENVIRONMENT


def test_a_wrong_answer_is_wrong_however_slow(monkeypatch):
    clock = Clock(20.0, 0.01, monkeypatch)

    def spoil(out, operands, call):
        clock.slow()
        out.add_(1)

    assert checked(spoil, budget_s=70.0).status is Status.INCORRECT
