"""The oracle: attention in float64, slowly and plainly. Correctness rests on it; nothing is timed against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

SCORE_BYTES = 256 << 20
"""How much of the score matrix is held at once."""
UNIT = 2.0**-24
"""Half the distance from 1 to the next float32: what one rounding in the arithmetic of any kernel may cost."""
TINY = torch.finfo(torch.float32).tiny
"""Smaller than this, a kernel may take for zero: GPUs do, where compiled for speed."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The answer, and what rounding alone makes of it; both (batch, heads, seq_len, head_dim), in float64."""

    out: torch.Tensor
    rounding: torch.Tensor


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> torch.Tensor:
    """softmax(scale * q kᵀ) v in float64, for (batch, heads, seq_len, head_dim); returns that shape, in float64."""
    return solve(q, k, v, scale, causal).out


def solve(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> Expected:
    """softmax(scale * q kᵀ) v in float64, and how far from it a right kernel that computes in float32 may end.

    To first order, an error d_j in score j moves the output by sum_j p_j d_j (v_j - out). With independent d_j of the
    size of one rounding of a dot product, UNIT * scale * |q| |k_j|, that is at most, by Cauchy and Schwarz,

        UNIT * scale * |q| * sqrt(sum_j p_j |k_j|²) * sqrt(sum_j p_j v_j² - out²)

    to which come two roundings of the sum itself, 2 * UNIT * sqrt(sum_j p_j v_j²). How dot products err: N. J.
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1; what for: gate/check/accuracy.py.
    """
    parts = [_heads(q_part, k_part, v_part, scale, causal) for q_part, k_part, v_part in in_parts(q, k, v)]
    out, rounding = (torch.cat(each).reshape(q.shape) for each in zip(*parts, strict=True))
    return Expected(out, rounding)


def in_parts(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Tensors of (batch, heads, seq_len, head_dim) as (some heads, seq_len, head_dim): few enough for the scores."""
    seq_len, head_dim = tensors[0].shape[2:]
    step = max(1, SCORE_BYTES // (8 * seq_len * seq_len))
    return zip(*(torch.split(each.reshape(-1, seq_len, head_dim), step) for each in tensors), strict=True)


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
