"""Python that numba compiles for the CPU. `cache=True`: compiled once a run, found by the run's later processes."""

import math

import numba


@numba.njit(cache=True)
def compute(q, k, v, scale, causal, out):
    """One query at a time, with an online softmax; q, k, v and out are (batch, heads, seq_len, head_dim)."""
    batch, heads, seq_len, head_dim = q.shape
    for b in range(batch):
        for h in range(heads):
            for query in range(seq_len):
                out[b, h, query] = 0.0
                highest, total = -math.inf, 0.0
                for key in range(query + 1 if causal else seq_len):
                    score = 0.0
                    for d in range(head_dim):
                        score += q[b, h, query, d] * k[b, h, key, d]
                    higher = max(highest, score * scale)
                    rescale, weight = math.exp(highest - higher), math.exp(score * scale - higher)
                    total = total * rescale + weight
                    for d in range(head_dim):
                        out[b, h, query, d] = out[b, h, query, d] * rescale + weight * v[b, h, key, d]
                    highest = higher
                for d in range(head_dim):
                    out[b, h, query, d] /= total


def attention(q, k, v, scale, causal, out):
    """The tensors as NumPy's arrays, which share their memory."""
    compute(q.numpy(), k.numpy(), v.numpy(), scale, causal, out.numpy())
