"""People's own functions, in their own process: what passes, what is named, and what is handed back."""

import itertools
import json

import pytest
import torch

import gate
from gate.errors import BadInputError
from gate.notebook.evaluate import EVIDENCE, CandidateEvaluation, evaluate_candidate
from gate.records.codec import from_json, to_json

SCALE = 0.25
sdpa = torch.nn.functional.scaled_dot_product_attention


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 2, 48, 32, generator=generator) for _ in range(3)]


def right(q, k, v, scale):
    return sdpa(q, k, v, scale=scale)


def evaluated(function, inputs, **options):
    return evaluate_candidate(function, *inputs, SCALE, **{"iters": 4, **options})


class FakeClock:
    """Times by what is called, not by how long it takes: the baseline 2 ms, the candidate `candidate_ms`."""

    def __init__(self, candidate_ms):
        self.candidate_ms = candidate_ms
        self.count = 0

    def time(self, name, launch):
        self.count += 1
        out = launch()
        base = self.candidate_ms if name == "candidate" else 2.0
        return base + 1e-3 * (self.count % 3), out.clone()


@pytest.fixture
def clock(monkeypatch):
    """Sets what the candidate takes, beside a baseline of 2 ms."""

    def set_to(candidate_ms):
        fake = FakeClock(candidate_ms)
        monkeypatch.setattr(
            "gate.notebook.in_process.InProcessTrial.time", lambda ring, name: fake.time(name, ring._launches[name])
        )

    return set_to


def test_it_is_a_part_of_the_package():
    assert gate.evaluate_candidate is evaluate_candidate


def test_what_is_right_and_faster_passes(inputs, clock):
    clock(1.0)
    result = evaluated(right, inputs)
    assert (result.passed, result.correctness.passed, result.performance.faster) == (True, True, True)
    assert result.performance.speedup == pytest.approx(2.0, rel=1e-2)
    assert result.bootstrap.ci_passed
    assert result.bootstrap.ci[0] < result.bootstrap.ci[1] < 0


@pytest.mark.parametrize(("candidate_ms", "faster"), [(1.89, True), (1.95, False), (2.0, False), (4.0, False)])
def test_faster_is_under_the_threshold(candidate_ms, faster, inputs, clock):
    clock(candidate_ms)
    result = evaluated(right, inputs)
    assert (result.passed, result.performance.faster) == (faster, faster)


def test_the_threshold_can_be_chosen(inputs, clock):
    clock(1.89)
    assert not evaluated(right, inputs, speedup_threshold=0.9).passed


def test_everything_is_there_by_attribute_and_by_name(inputs, clock):
    clock(1.0)
    result = evaluated(right, inputs)
    assert result["performance"]["speedup"] == result.performance.speedup
    assert result["correctness"]["max_abs_err"] == result.correctness.max_abs_err < 1e-5
    assert result["bootstrap"]["ci"] == result.bootstrap.ci
    assert result["passed"] is True
    with pytest.raises(KeyError):
        result["speed"]


def test_all_samples_are_kept_and_the_result_survives_json(inputs):
    result = evaluated(right, inputs, iters=6)
    assert len(result.performance.baseline_ms) == len(result.performance.candidate_ms) == 6
    assert from_json(CandidateEvaluation, to_json(result), "a result") == result
    assert json.loads(to_json(result))["performance"]["baseline"] == "flash"


def test_it_says_that_one_process_is_weak_evidence(inputs):
    assert evaluated(right, inputs)["evidence"] == EVIDENCE
    assert "one process" in EVIDENCE


def from_the_tenth_call_on(wrong):
    calls = itertools.count(1)
    return lambda q, k, v, scale: right(q, k, v, scale) if next(calls) < 10 else wrong(q)


def always_the_first_answer():
    kept = []

    def stale(q, k, v, scale):
        kept.append(right(q, k, v, scale))
        return kept[0].clone()

    return stale


def writes(q, k, v, scale):
    out = right(q, k, v, scale)
    k.mul_(2.0)
    return out


def never_twice_the_same():
    calls = itertools.count(1)

    def drifting(q, k, v, scale):
        out = right(q, k, v, scale)
        return out * (1 + next(calls) * torch.finfo(out.dtype).eps)

    return drifting


def without_maximum(q, k, v, scale):
    weights = torch.exp(q @ k.transpose(-1, -2) * scale)
    return (weights / weights.sum(-1, keepdim=True)) @ v


WRONG = {
    "zeros": (lambda q, k, v, scale: torch.zeros_like(q), "elementwise tolerance"),
    "the mean of v": (lambda q, k, v, scale: v.mean(2, keepdim=True) + 0 * q, "elementwise tolerance"),
    "the scale is ignored": (lambda q, k, v, scale: right(q, k, v, 1.0), "elementwise tolerance"),
    "nothing": (lambda q, k, v, scale: None, "output: returned NoneType"),
    "a list": (lambda q, k, v, scale: [right(q, k, v, scale)], "output: returned list"),
    "another shape": (lambda q, k, v, scale: right(q, k, v, scale)[:, :1], "output: shape"),
    "another type": (lambda q, k, v, scale: right(q, k, v, scale).double(), "output: dtype"),
    "an input": (lambda q, k, v, scale: q.copy_(right(q, k, v, scale)), "output: shares the memory"),
    "a subclass": (lambda q, k, v, scale: torch.nn.Parameter(right(q, k, v, scale)), "output: returned Parameter"),
    "writes to its inputs": (writes, "wrote to k"),
    "no maximum subtracted": (without_maximum, "finite on large logits"),
}
REMEMBERING = {
    "answers what it answered before": (always_the_first_answer, "on other inputs"),
    "never twice the same": (never_twice_the_same, "repeatable"),
    "wrong when it is timed": (lambda: from_the_tenth_call_on(torch.zeros_like), "the timed output is off"),
}
"""Made anew for each test, with nothing to remember."""
MADE = {name: (lambda function=function: function, words) for name, (function, words) in WRONG.items()} | REMEMBERING


@pytest.mark.parametrize(("make", "words"), MADE.values(), ids=MADE)
def test_what_is_wrong_does_not_pass_and_is_named(make, words, inputs):
    result = evaluated(make(), inputs)
    assert (result.passed, result.correctness.passed) == (False, False)
    assert words in result.correctness.message
    assert result.performance.speedup is None
    assert (result.bootstrap.ci, result.bootstrap.ci_passed) == (None, False)


def test_the_inputs_of_the_caller_are_not_written_to(inputs):
    before = [each.clone() for each in inputs]
    evaluated(writes, inputs)
    assert all(torch.equal(*pair) for pair in zip(before, inputs, strict=True))


def test_inputs_of_any_strides_are_taken(inputs):
    apart = [each.transpose(1, 2).contiguous().transpose(1, 2) for each in inputs]
    assert evaluated(right, apart).correctness.passed


def test_what_the_candidate_raises_is_the_callers_to_see(inputs):
    def fails(q, k, v, scale):
        raise RuntimeError("no kernel for these sizes")

    with pytest.raises(RuntimeError, match="no kernel for these sizes"):
        evaluated(fails, inputs)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda q, k, v: (q[0], k[0], v[0]), {}, "batch, heads, seq_len, head_dim"),
        (lambda q, k, v: (q, k[:, :, :3], v), {}, "of one shape"),
        (lambda q, k, v: (q.double(), k.double(), v.double()), {}, "float64"),
        (lambda q, k, v: (q, k, v), {"sdpa_backend": "cudnn"}, "choose flash, math"),
        (lambda q, k, v: (q, k, v), {"iters": 1}, "at least 2"),
    ],
    ids=["three dimensions", "fewer keys", "another type", "no such backend", "one round"],
)
def test_what_cannot_be_evaluated_is_said_before_anything_runs(change, options, words, inputs):
    with pytest.raises(BadInputError, match=words):
        evaluated(lambda *_: pytest.fail("it was called"), change(*inputs), **options)
