"""The oracle: attention in float64, simple and slow. It decides correctness; nothing is timed against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

SCORE_BYTES = 256 << 20
"""The maximum size of the part of the score matrix in memory."""
UNIT = 2.0**-24
"""Half the distance from 1 to the next float32: the relative error of one rounding in float32."""
TINY = torch.finfo(torch.float32).tiny
"""A kernel may flush smaller numbers to zero, as GPUs do when compiled for speed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The right output, and the error that rounding alone may cause; (batch, heads, seq_len, head_dim), float64."""

    out: torch.Tensor
    rounding: torch.Tensor


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> torch.Tensor:
    """softmax(scale * q kᵀ) v in float64. Inputs and output are (batch, heads, seq_len, head_dim)."""
    return solve(q, k, v, scale, causal).out


def solve(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> Expected:
    """softmax(scale * q kᵀ) v in float64, and the error that a right kernel in float32 may have.

    To first order, an error d_j in score j changes the output by sum_j p_j d_j (v_j - out). If they are independent
    and of the size of one rounding of a dot product, UNIT * scale * |q| |k_j|, Cauchy-Schwarz bounds the change by

        UNIT * scale * |q| * sqrt(sum_j p_j |k_j|²) * sqrt(sum_j p_j v_j² - out²)

    Two roundings of the sum itself add 2 * UNIT * sqrt(sum_j p_j v_j²). Source for the error of dot products: N. J.
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1. Used by gate/check/accuracy.py.
    """
    parts = [_heads(q_part, k_part, v_part, scale, causal) for q_part, k_part, v_part in in_parts(q, k, v)]
    out, rounding = (torch.cat(heads).reshape(q.shape) for heads in zip(*parts, strict=True))
    return Expected(out, rounding)


def in_parts(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Splits (batch, heads, seq_len, head_dim) into (some heads, seq_len, head_dim), whose scores fit SCORE_BYTES."""
    seq_len, head_dim = tensors[0].shape[2:]
    step = max(1, SCORE_BYTES // (8 * seq_len * seq_len))
    return zip(*(torch.split(tensor.reshape(-1, seq_len, head_dim), step) for tensor in tensors), strict=True)


def _heads(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    q, k, v = q.double(), k.double(), v.double()
    scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scale)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu_(1)
        scores.masked_fill_(later, float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    squares = torch.cat([v.square(), k.square().sum(-1, keepdim=True)], dim=-1)
    out, means = torch.matmul(weights, v), torch.matmul(weights, squares)
    v_square, k_norm = means[..., :-1], means[..., -1:].sqrt()
    spread = (v_square - out.square()).clamp_(min=0).sqrt()
    per_score = UNIT * abs(scale) * q.norm(dim=-1, keepdim=True) * k_norm
    return out, per_score * spread + 2 * UNIT * v_square.sqrt() + TINY
