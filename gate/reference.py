"""The oracle: attention in float64, slowly and plainly. Correctness rests on it; nothing is timed against it."""

from __future__ import annotations

import torch

SCORE_BYTES = 256 << 20
"""How much of the score matrix is held at once."""


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> torch.Tensor:
    """softmax(scale * q kᵀ) v in float64, for (batch, heads, seq_len, head_dim); returns that shape, in float64."""
    batch, heads, seq_len, head_dim = q.shape
    step = max(1, SCORE_BYTES // (8 * seq_len * seq_len))
    parts = zip(*(torch.split(each.reshape(-1, seq_len, head_dim), step) for each in (q, k, v)), strict=True)
    outputs = [
        _heads(q_part.double(), k_part.double(), v_part.double(), scale, causal) for q_part, k_part, v_part in parts
    ]
    return torch.cat(outputs).reshape(batch, heads, seq_len, head_dim)


def _heads(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, causal: bool) -> torch.Tensor:
    scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scale)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu_(1)
        scores.masked_fill_(later, float("-inf"))
    return torch.matmul(torch.softmax(scores, dim=-1), v)
