"""What q, k and v may hold. Every distribution is a function of a seed, so that inputs need not be kept to be known.

Beside `normal`, each is there for a kind of bug: an overflow of exp, a running maximum that is not followed, weights
that are all equal, values that underflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from gate.records import Distribution

LARGE = 30.0
"""The scores' standard deviation: exp of the largest overflows float32 unless a maximum is subtracted."""
GAP = 50.0
"""The lead of the dominant key's score: exp(-50) is nothing beside 1 in float32, in any order of summation."""
GRAIN = 64
"""Constants are multiples of 1/64 up to 2, so that sums of them are exact in float32, in any order of summation."""

Fill = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator], None]


def fill(tensors: Sequence[torch.Tensor], seed: int, distribution: Distribution) -> None:
    """Fills q, k and v, each (batch, heads, seq_len, head_dim); the same values in whatever layout they are."""
    q, k, v = (torch.empty_like(each, memory_format=torch.contiguous_format) for each in tensors)
    if all(each.is_contiguous() for each in tensors):
        q, k, v = tensors
    FILLS[distribution](q, k, v, torch.Generator(q.device).manual_seed(seed))
    for tensor, filled in zip(tensors, (q, k, v), strict=True):
        if tensor is not filled:
            tensor.copy_(filled)


def _normal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generator: torch.Generator) -> None:
    for tensor in (q, k, v):
        tensor.normal_(generator=generator)


def _uniform(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generator: torch.Generator) -> None:
    for tensor in (q, k, v):
        tensor.uniform_(-1, 1, generator=generator)


def _large_logits(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generator: torch.Generator) -> None:
    _normal(q, k, v, generator)
    q.mul_(LARGE)


def _dominant_key(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generator: torch.Generator) -> None:
    """In each head, one key at a random place leads for every query."""
    _normal(q, k, v, generator)
    batch, heads, seq_len, head_dim = k.shape
    at = torch.randint(seq_len, (batch, heads, 1), generator=generator, device=k.device)
    common = 8.0
    q[..., 0] = common
    k[..., 0].scatter_(2, at, GAP * head_dim**0.5 / common)


def _constant(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generator: torch.Generator) -> None:
    for tensor in (q, k, v):
        steps = torch.randint(1, 2 * GRAIN + 1, (1,), generator=generator, device=tensor.device)
        tensor.copy_((steps / GRAIN).expand_as(tensor))


def _denormal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, generator: torch.Generator) -> None:
    _normal(q, k, v, generator)
    for tensor in (q, k, v):
        tensor.mul_(torch.finfo(tensor.dtype).tiny)


FILLS: Mapping[Distribution, Fill] = {
    "normal": _normal,
    "uniform": _uniform,
    "large_logits": _large_logits,
    "dominant_key": _dominant_key,
    "constant": _constant,
    "denormal": _denormal,
}
