"""The device's side: one program computes one tile of queries of one head, and writes its output once.

What it costs stands in kernel.py. Strides are those of (batch, head, row, column), in elements.
"""

import triton
import triton.language as tl


@triton.jit
def forward(
    q, k, v, out, q_strides, k_strides, v_strides, out_strides,
    heads, seq_len, scale_log2,
    head_dim: tl.constexpr, causal: tl.constexpr, negated: tl.constexpr, masked: tl.constexpr,
    block_m: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """Neighbouring programs share a head, and so K and V in L2; the last tile, longest where causal, starts first."""
    tiles = tl.cdiv(seq_len, block_m)
    head = tl.cast(tl.program_id(0) // tiles, tl.int64)
    first = (tiles - 1 - tl.program_id(0) % tiles) * block_m
    rows = first + tl.arange(0, block_m)
    exists = rows[:, None] < seq_len

    queries = tl.load(_at(q, q_strides, head, heads, first) + _tile(q_strides, block_m, head_dim), exists, other=0.0)
    if negated:
        queries = -queries
    acc = tl.zeros([block_m, head_dim], tl.float32)
    maximum = tl.full([block_m], float("-inf"), tl.float32)
    total = tl.zeros([block_m], tl.float32)

    # Keys before `full` lie in whole blocks that every query of the tile sees; from there to `last`, some are masked.
    last = tl.minimum(first + block_m, seq_len) if causal else seq_len
    full = (first if causal else seq_len) // block_n * block_n
    acc, maximum, total = _attend(
        acc, maximum, total, queries, rows,
        _at(k, k_strides, head, heads, 0), _at(v, v_strides, head, heads, 0), k_strides, v_strides,
        0, full, seq_len, scale_log2, head_dim, causal, False, block_n,
    )  # fmt: skip
    if masked:
        acc, maximum, total = _attend(
            acc, maximum, total, queries, rows,
            _at(k, k_strides, head, heads, full), _at(v, v_strides, head, heads, full), k_strides, v_strides,
            full, last, seq_len, scale_log2, head_dim, causal, True, block_n,
        )  # fmt: skip

    result = (acc / total[:, None]).to(out.dtype.element_ty)
    tl.store(_at(out, out_strides, head, heads, first) + _tile(out_strides, block_m, head_dim), result, exists)


@triton.jit
def _attend(
    acc, maximum, total, queries, rows,
    k, v, k_strides, v_strides,
    first, last, seq_len, scale_log2,
    head_dim: tl.constexpr, causal: tl.constexpr, masked: tl.constexpr, block_n: tl.constexpr,
):  # fmt: skip
    """The online softmax over the keys from `first`, where k and v point, to `last`."""
    k_tile, v_tile = _tile(k_strides, block_n, head_dim), _tile(v_strides, block_n, head_dim)
    for start in range(first, last, block_n):
        columns = start + tl.arange(0, block_n)
        if masked:
            keys = tl.load(k + k_tile, columns[:, None] < seq_len, other=0.0)
            values = tl.load(v + v_tile, columns[:, None] < seq_len, other=0.0)
        else:
            keys, values = tl.load(k + k_tile), tl.load(v + v_tile)

        scores = tl.dot(queries, tl.trans(keys), input_precision="ieee")
        if masked:
            visible = columns[None, :] < seq_len
            if causal:
                visible = visible & (columns[None, :] <= rows[:, None])
            scores = tl.where(visible, scores, float("-inf"))

        # The scale joins the subtraction in one FMA. A query that saw no key in its first step would get
        # -inf minus -inf: key 0 is always there to see.
        higher = tl.maximum(maximum, tl.max(scores, 1) * scale_log2)
        weights = tl.exp2(scores * scale_log2 - higher[:, None])
        rescale = tl.exp2(maximum - higher)
        total = total * rescale + tl.sum(weights, 1)
        acc = tl.dot(weights.to(values.dtype), values, acc * rescale[:, None], input_precision="ieee")
        maximum = higher
        k += block_n * k_strides[2]
        v += block_n * v_strides[2]
    return acc, maximum, total


@triton.jit
def _at(tensor, strides, head, heads, row):
    """Where a row begins, for `head` of all heads of the batch; in 64 bits, because tensors exceed 2^31 elements."""
    start = head // heads * strides[0] + head % heads * strides[1]
    return tensor + start + tl.cast(row, tl.int64) * strides[2]


@triton.jit
def _tile(strides, rows: tl.constexpr, columns: tl.constexpr):
    """Offsets of a tile's elements from its first."""
    return tl.arange(0, rows)[:, None] * strides[2] + tl.arange(0, columns)[None, :] * strides[3]
