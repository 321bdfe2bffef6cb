import math

import pytest
import torch

from gate.check import oracle


def inputs(*shape: int, seed: int = 0, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) * scale for _ in range(3)]


def one_row(q: list[float], keys: list[list[float]], values: list[list[float]], scale: float) -> list[float]:
    """The formula of attention.h in plain Python."""
    scores = [scale * sum(a * b for a, b in zip(q, key, strict=True)) for key in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    columns = zip(*values, strict=True)
    return [sum(w * v for w, v in zip(weights, column, strict=True)) / sum(weights) for column in columns]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_oracle_is_the_formula(causal, scale):
    q, k, v = inputs(2, 3, 7, 5)
    out = oracle.attention(q, k, v, scale, causal)
    for b, h, i in [(0, 0, 0), (1, 2, 3), (1, 0, 6)]:
        keys = i + 1 if causal else 7
        expected = one_row(q[b, h, i].tolist(), k[b, h, :keys].tolist(), v[b, h, :keys].tolist(), scale)
        assert out[b, h, i].tolist() == pytest.approx(expected, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_oracle_answers_in_float64(dtype):
    q, k, v = (each.to(dtype) for each in inputs(1, 2, 5, 4))
    assert oracle.attention(q, k, v, 0.5, False).dtype == torch.float64


@pytest.mark.parametrize("causal", [False, True])
def test_taking_the_heads_in_parts_changes_nothing(causal, monkeypatch):
    q, k, v = inputs(2, 3, 16, 8)
    whole = oracle.attention(q, k, v, 0.3, causal)
    monkeypatch.setattr(oracle, "SCORE_BYTES", 2 * 8 * 16 * 16)
    assert torch.allclose(oracle.attention(q, k, v, 0.3, causal), whole, rtol=1e-14, atol=1e-15)


def test_large_logits_do_not_overflow():
    q, k, v = inputs(1, 1, 9, 4, scale=1e4)
    out = oracle.attention(q, k, v, 1.0, False)
    assert torch.isfinite(out).all()
    assert out.abs().max() <= v.abs().max()


def test_equal_values_come_back_as_they_are():
    q, k, _ = inputs(1, 2, 11, 4)
    out = oracle.attention(q, k, torch.full((1, 2, 11, 4), 3.5), 0.5, False)
    assert torch.allclose(out, torch.tensor(3.5, dtype=torch.float64), rtol=1e-15)


def test_the_first_row_of_causal_attention_is_the_first_value():
    q, k, v = inputs(1, 2, 11, 4)
    assert torch.equal(oracle.attention(q, k, v, 0.5, True)[:, :, 0], v[:, :, 0].double())


def test_inputs_need_not_be_contiguous():
    q, k, v = (each.transpose(1, 2) for each in inputs(2, 7, 3, 5))
    expected = oracle.attention(q.contiguous(), k.contiguous(), v.contiguous(), 0.4, True)
    assert torch.equal(oracle.attention(q, k, v, 0.4, True), expected)


def test_inputs_are_left_as_they_were():
    q, k, v = inputs(1, 2, 5, 4)
    before = [each.clone() for each in (q, k, v)]
    oracle.attention(q, k, v, 0.5, True)
    assert all(torch.equal(*pair) for pair in zip((q, k, v), before, strict=True))


def drawn(seq_len, gain=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, 2, seq_len, 16, generator=generator).to(dtype) for _ in range(3))
    return q * gain, k, v


@pytest.mark.parametrize("causal", [False, True])
def test_rounding_is_what_errors_in_the_scores_make_of_the_answer(causal):
    """The formula, term by term, in place of three products."""
    q, k, v = (each[0, 0].double() for each in drawn(5))
    solved = oracle.solve(*drawn(5), 0.3, causal)
    for i in range(5):
        seen = range(i + 1 if causal else 5)
        weights = torch.softmax(torch.stack([0.3 * q[i] @ k[j] for j in seen]), 0)
        sizes = sum(weights[j] * (k[j] @ k[j]) for j in seen).sqrt() * q[i].norm() * 0.3
        out = sum(weights[j] * v[j] for j in seen)
        spread = sum(weights[j] * (v[j] - out) ** 2 for j in seen).sqrt()
        size = sum(weights[j] * v[j] ** 2 for j in seen).sqrt()
        wanted = 2.0**-24 * (sizes * spread + 2 * size)
        assert torch.allclose(solved.rounding[0, 0, i], wanted, rtol=1e-5, atol=0.0)


def test_a_single_key_leaves_rounding_of_its_value_alone():
    _, _, v = drawn(1)
    assert torch.allclose(oracle.solve(*drawn(1), 0.25, False).rounding, v.double().abs() * 2.0**-23, rtol=1e-5)


@pytest.mark.parametrize("gain", [1.0, 30.0])
@pytest.mark.parametrize("seq_len", [2, 17, 200])
def test_float32_errs_by_about_as_much_as_rounding_may_cost(seq_len, gain):
    q, k, v = drawn(seq_len, gain)
    solved = oracle.solve(q, k, v, 0.25, False)
    seen = torch.softmax(q @ k.transpose(-1, -2) * 0.25, -1) @ v
    assert 0.01 < float((seen.double() - solved.out).abs().max() / solved.rounding.max()) < 3.0
