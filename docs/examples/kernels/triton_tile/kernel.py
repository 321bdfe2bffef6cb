"""Triton as it is written everywhere: nothing here knows of a CPU, where Kernel Gate chooses Triton's interpreter.

kernels/triton is the fast one.
"""

import triton
import triton.language as tl

# By kernel.toml or --config: Kernel Gate sets these before it executes this file.
BLOCK_M: int
BLOCK_N: int


@triton.jit
def forward(
    q, k, v, out, seq_len, scale, head_dim: tl.constexpr, causal: tl.constexpr, m: tl.constexpr, n: tl.constexpr
):
    """One program: `m` queries of one head, against all of its keys, `n` at a time."""
    head = tl.program_id(1).to(tl.int64) * seq_len * head_dim
    rows, columns = tl.program_id(0) * m + tl.arange(0, m), tl.arange(0, head_dim)
    at = rows[:, None] * head_dim + columns[None, :]
    queries = tl.load(q + head + at, rows[:, None] < seq_len, other=0.0)
    acc = tl.zeros([m, head_dim], tl.float32)
    highest, total = tl.full([m], float("-inf"), tl.float32), tl.zeros([m], tl.float32)
    for start in range(0, seq_len, n):
        keys = start + tl.arange(0, n)
        there = head + keys[:, None] * head_dim + columns[None, :]
        exists = keys[:, None] < seq_len
        scores = tl.dot(queries, tl.trans(tl.load(k + there, exists, other=0.0)), input_precision="ieee") * scale
        visible = keys[None, :] < seq_len
        if causal:
            visible = visible & (keys[None, :] <= rows[:, None])
        scores = tl.where(visible, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        weights, rescale = tl.exp(scores - higher[:, None]), tl.exp(highest - higher)
        total = total * rescale + tl.sum(weights, 1)
        values = tl.load(v + there, exists, other=0.0)
        acc = tl.dot(weights, values, acc * rescale[:, None], input_precision="ieee")
        highest = higher
    tl.store(out + head + at, acc / total[:, None], rows[:, None] < seq_len)


def attention(q, k, v, scale, causal, out):
    """All four tensors are (batch, heads, seq_len, head_dim)."""
    batch, heads, seq_len, head_dim = q.shape
    grid = (triton.cdiv(seq_len, BLOCK_M), batch * heads)
    forward[grid](q, k, v, out, seq_len, scale, head_dim=head_dim, causal=causal, m=BLOCK_M, n=BLOCK_N)
