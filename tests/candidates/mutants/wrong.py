"""Attention that is almost right: one mistake a function, each (batch, heads, seq_len, head_dim) in and out.

This file imports nothing of Kernel Gate: a copy of it is the source of every Python mutant (see registry.py).
Mutants compute in float32 and err by their one mistake alone, so that nothing else gives them away.
"""

import torch

TILE = 64
KEPT = {}


def scores(q, k, scale, causal):
    product = torch.matmul(q.float(), k.float().transpose(-1, -2)) * scale
    return product.masked_fill(later_keys(product, 1), float("-inf")) if causal else product


def later_keys(product, diagonal):
    """True where the key comes `diagonal` or more after the query."""
    return torch.ones(product.shape[-2:], dtype=torch.bool, device=product.device).triu(diagonal)


def right(q, k, v, scale, causal):
    return torch.matmul(torch.softmax(scores(q, k, scale, causal), -1), v.float())


def tiles(q, k, v, scale, causal):
    """Scores and values of one tile of keys after the other."""
    product = scores(q, k, scale, causal)
    for first in range(0, k.shape[2], TILE):
        yield product[..., first : first + TILE], v[:, :, first : first + TILE].float()


def online(q, k, v, scale, causal, rescale_sum=True, rescale_values=True):
    """The online softmax, as fused kernels have it."""
    most, total, values = torch.full((*q.shape[:3], 1), -1e30, device=q.device), 0.0, 0.0
    for product, part in tiles(q, k, v, scale, causal):
        higher = torch.maximum(most, product.amax(-1, keepdim=True))
        weights, shrink = torch.exp(product - higher), torch.exp(most - higher)
        total = total * (shrink if rescale_sum else 1.0) + weights.sum(-1, keepdim=True)
        values = values * (shrink if rescale_values else 1.0) + torch.matmul(weights, part)
        most = higher
    return values / total


# What is written


def zeros(q, k, v, scale, causal):
    return torch.zeros_like(q)


def constant(q, k, v, scale, causal):
    return torch.full_like(q, 0.01)


def mean_of_v(q, k, v, scale, causal):
    return v.float().mean(2, keepdim=True).expand_as(q)


def copy_of_v(q, k, v, scale, causal):
    return v


def transposed_output(q, k, v, scale, causal):
    return right(q, k, v, scale, causal).transpose(2, 3).reshape(q.shape)


def last_rows_unwritten(q, k, v, scale, causal):
    out = right(q, k, v, scale, causal)
    out[:, :, -(q.shape[2] % TILE or 16) :] = float("nan")
    return out


def last_row_repeats_the_one_before(q, k, v, scale, causal):
    out = right(q, k, v, scale, causal)
    out[:, :, -1:] = out[:, :, -2:-1]
    return out


def last_column_missing(q, k, v, scale, causal):
    out = right(q, k, v, scale, causal)
    out[..., -1] = 0
    return out


def stale_output(q, k, v, scale, causal):
    key = (q.shape, q.dtype, causal)
    if key not in KEPT:
        KEPT[key] = right(q, k, v, scale, causal)
    return KEPT[key]


# Which keys and values


def last_tile_dropped(q, k, v, scale, causal):
    end = max(1, k.shape[2] - TILE)
    return right(q, k[:, :, :end], v[:, :, :end], scale, False)


def first_tile_twice(q, k, v, scale, causal):
    k, v = (torch.cat([each[:, :, :TILE], each], 2) for each in (k, v))
    return right(q, k, v, scale, False)


def first_key_dropped(q, k, v, scale, causal):
    return right(q, k[:, :, 1:], v[:, :, 1:], scale, False)


def last_key_dropped(q, k, v, scale, causal):
    return right(q, k[:, :, :-1], v[:, :, :-1], scale, False)


def values_one_key_late(q, k, v, scale, causal):
    return right(q, k, v.roll(1, 2), scale, causal)


def keys_of_the_next_head(q, k, v, scale, causal):
    return right(q, next_head(k), v, scale, causal)


def values_of_the_next_head(q, k, v, scale, causal):
    return right(q, k, next_head(v), scale, causal)


def next_head(tensor):
    """Of the whole batch, so that the last head of one batch has the first of the next."""
    return tensor.flatten(0, 1).roll(-1, 0).view_as(tensor)


def last_head_as_the_first(q, k, v, scale, causal):
    out = right(q, k, v, scale, causal)
    out[-1, -1] = out[0, 0]
    return out


# The softmax


def scale_off_by_3_percent(q, k, v, scale, causal):
    return right(q, k, v, scale * 1.03, causal)


def scale_missing(q, k, v, scale, causal):
    return right(q, k, v, 1.0, causal)


def no_max_subtraction(q, k, v, scale, causal):
    weights = torch.exp(scores(q, k, scale, causal))
    return torch.matmul(weights / weights.sum(-1, keepdim=True), v.float())


def scores_clamped(q, k, v, scale, causal):
    return torch.matmul(torch.softmax(scores(q, k, scale, causal).clamp(max=20.0), -1), v.float())


def base_two_without_its_factor(q, k, v, scale, causal):
    return right(q, k, v, scale * 0.6931471805599453, causal)


def softmax_over_queries(q, k, v, scale, causal):
    return torch.matmul(torch.softmax(scores(q, k, scale, False), -2), v.float())


def no_final_normalisation(q, k, v, scale, causal):
    product = scores(q, k, scale, causal)
    return torch.matmul(torch.exp(product - product.amax(-1, keepdim=True)), v.float())


def sum_of_all_but_the_last_tile(q, k, v, scale, causal):
    product = scores(q, k, scale, causal)
    weights = torch.exp(product - product.amax(-1, keepdim=True))
    return torch.matmul(weights, v.float()) / weights[..., : max(1, k.shape[2] - TILE)].sum(-1, keepdim=True)


def values_not_rescaled(q, k, v, scale, causal):
    return online(q, k, v, scale, causal, rescale_values=False)


def sum_not_rescaled(q, k, v, scale, causal):
    return online(q, k, v, scale, causal, rescale_sum=False)


# Precision


def accumulates_in_half(q, k, v, scale, causal):
    """Both products, as tensor cores do that keep float16 sums: rounded after every 16 terms."""
    product = half_product(q, k.transpose(-1, -2)) * scale
    if causal:
        product = product.masked_fill(later_keys(product, 1), float("-inf"))
    weights = torch.exp(product - product.amax(-1, keepdim=True))
    return half_product(weights.half(), v) / weights.sum(-1, keepdim=True)


def half_product(left, right):
    total = 0.0
    for first in range(0, left.shape[-1], 16):
        part = torch.matmul(left[..., first : first + 16].float(), right[..., first : first + 16, :].float())
        total = (total + part).half().float()
    return total


def scores_in_bfloat16(q, k, v, scale, causal):
    return torch.matmul(torch.softmax(scores(q, k, scale, causal).bfloat16().float(), -1), v.float())


def weights_in_eight_bits(q, k, v, scale, causal):
    weights = torch.softmax(scores(q, k, scale, causal), -1)
    largest = weights.amax(-1, keepdim=True)
    return torch.matmul(torch.round(weights / largest * 255) / 255 * largest, v.float())


def weights_in_float8(q, k, v, scale, causal):
    product = scores(q, k, scale, causal)
    weights = torch.exp(product - product.amax(-1, keepdim=True))
    return torch.matmul(weights.to(torch.float8_e4m3fn).float(), v.float()) / weights.sum(-1, keepdim=True)


def values_in_float8(q, k, v, scale, causal):
    return right(q, k, v.to(torch.float8_e4m3fn), scale, causal)


def output_in_bfloat16(q, k, v, scale, causal):
    return right(q, k, v, scale, causal).bfloat16()


# The mask: right wherever nothing is masked


def mask_ignored(q, k, v, scale, causal):
    return right(q, k, v, scale, False)


def mask_sees_one_key_more(q, k, v, scale, causal):
    product = scores(q, k, scale, False)
    return masked(product, v, later_keys(product, 2))


def mask_sees_one_key_less(q, k, v, scale, causal):
    product = scores(q, k, scale, False)
    hidden = later_keys(product, 0)
    hidden[0, 0] = False  # the first query would see nothing, and be given away by NaN
    return masked(product, v, hidden)


def mask_of_whole_tiles(q, k, v, scale, causal):
    product = scores(q, k, scale, False)
    tile = torch.arange(k.shape[2], device=q.device) // TILE
    return masked(product, v, tile[None, :] > tile[:, None])


def mask_transposed(q, k, v, scale, causal):
    product = scores(q, k, scale, False)
    return masked(product, v, later_keys(product, 1).T)


def masked(product, v, hidden):
    return torch.matmul(torch.softmax(product.masked_fill(hidden, float("-inf")), -1), v.float())


EVERYWHERE = (
    zeros, constant, mean_of_v, copy_of_v, transposed_output, last_rows_unwritten, last_row_repeats_the_one_before,
    last_column_missing, stale_output, last_tile_dropped, first_tile_twice, first_key_dropped, last_key_dropped,
    values_one_key_late, keys_of_the_next_head, values_of_the_next_head, last_head_as_the_first,
    scale_off_by_3_percent, scale_missing, no_max_subtraction, scores_clamped, base_two_without_its_factor,
    softmax_over_queries, no_final_normalisation, sum_of_all_but_the_last_tile, values_not_rescaled, sum_not_rescaled,
    accumulates_in_half, scores_in_bfloat16, weights_in_eight_bits, weights_in_float8, values_in_float8,
    output_in_bfloat16,
)  # fmt: skip
MASKED = (mask_ignored, mask_sees_one_key_more, mask_sees_one_key_less, mask_of_whole_tiles, mask_transposed)
"""Wrong only where there is a mask: on the required workloads made causal."""
MUTANTS = {each.__name__: each for each in (*EVERYWHERE, *MASKED)}
CONTROLS = {"right": right, "right_online": online}
"""Not wrong: what the others would be without their mistake."""


def candidate(name):
    """The function that Kernel Gate calls."""
    compute = (MUTANTS | CONTROLS)[name]

    def attention(q, k, v, scale, causal, out):
        out.copy_(compute(q, k, v, scale, causal))

    return attention
