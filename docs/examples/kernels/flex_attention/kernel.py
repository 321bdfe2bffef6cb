"""FlexAttention: torch.compile makes a fused kernel of it, Triton on a GPU and C++ on a CPU.

The compiled function writes `out` itself, for a copy of its own would be one more launch that is timed. The mask of a
sequence length is made once.
"""

from functools import cache

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


@torch.compile(dynamic=False)
def compute(q, k, v, scale, mask, out):
    """Writes softmax(scale q kᵀ) v to `out`."""
    out.copy_(flex_attention(q, k, v, block_mask=mask, scale=scale))


@cache
def causal_mask(seq_len: int, device: str) -> BlockMask:
    """Every query sees the keys up to its own."""
    return create_block_mask(lambda _b, _h, query, key: query >= key, None, None, seq_len, seq_len, device)


def attention(q, k, v, scale, causal, out):
    """All four tensors are (batch, heads, seq_len, head_dim)."""
    with torch.no_grad():
        compute(q, k, v, scale, causal_mask(q.shape[2], q.device.type) if causal else None, out)
