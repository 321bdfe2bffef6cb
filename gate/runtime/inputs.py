"""Distributions of the inputs q, k and v. A seed reproduces the values: inputs need not be kept.

Except for `normal`, every distribution finds one kind of bug: an overflow of exp, a running maximum that is not
updated, weights that are all equal, values that underflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from gate.records import Distribution

LARGE = 30.0
"""The scores' standard deviation: exp of the largest score overflows float32 unless the maximum is subtracted."""
GAP = 50.0
"""The dominant key's score is larger by this: 1 + exp(-50) is 1 in float32, in any order of summation."""
GRAIN = 64
"""Constants are multiples of 1/64 up to 2: their sums are exact in float32, in any order of summation."""

Fill = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator], None]


def fill(tensors: Sequence[torch.Tensor], seed: int, distribution: Distribution) -> None:
    """Fills q, k and v, each (batch, heads, seq_len, head_dim). The values do not depend on the memory layout."""
    q, k, v = (torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors)
    if all(tensor.is_contiguous() for tensor in tensors):
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
    """In every head, one key at a random position has the largest score for every query."""
    _normal(q, k, v, generator)
    batch, heads, seq_len, head_dim = k.shape
    position = torch.randint(seq_len, (batch, heads, 1), generator=generator, device=k.device)
    common = 8.0
    q[..., 0] = common
    k[..., 0].scatter_(2, position, GAP * head_dim**0.5 / common)


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
