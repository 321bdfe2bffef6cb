"""CUDA mutants: kernels/custom_v3 with one mistake each, made by replacing one piece of its text.

The kernel itself stays free of hooks. Each piece must be there exactly once, which a test asks on every change of the
kernel: a mutant that has lost its mistake would be a right kernel. They are built for float16 and head_dim 64 alone,
so that twenty of them compile in the time of a few whole ones.
"""

from pathlib import Path

KERNELS = Path(__file__).parents[3] / "kernels"
ORIGINAL = KERNELS / "custom_v3"
SOURCE = "attention.cu"
ONE_KIND = (
    "enqueue<typename decltype(type)::type, head_dim()>(*args)",
    "std::is_same_v<typename decltype(type)::type, __half> && head_dim() == 64 ? enqueue<__half, 64>(*args) "
    ": int(ATTENTION_UNSUPPORTED)",
)

LOOP = "for (int key = 0; key < visible; key += block_keys)"
WRONG_EVERYWHERE = {
    "scale_off_by_3_percent": ("rows, problem.q.aligned, problem.scale_log2);",
                               "rows, problem.q.aligned, 1.03f * problem.scale_log2);"),
    "base_two_without_its_factor": ("rows, problem.q.aligned, problem.scale_log2);",
                                    "rows, problem.q.aligned, 0.6931472f * problem.scale_log2);"),
    "no_max_subtraction": ("const float higher = fmaxf(thread.maximum[r], seen);",
                           "const float higher = 0.0f * seen;"),
    "maximum_of_one_lane": ("ladder::group_max<lanes>(fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3])))",
                            "fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]))"),
    "values_not_rescaled": ("thread.acc[r][c] *= rescale;", "thread.acc[r][c] *= 1.0f;"),
    "sum_not_rescaled": ("thread.total[r] * rescale +", "thread.total[r] +"),
    "sum_of_one_lane": ("1.0f / ladder::group_sum<lanes>(thread.total[r])", "1.0f / thread.total[r]"),
    "no_final_normalisation": ("1.0f / ladder::group_sum<lanes>(thread.total[r])", "1.0f"),
    "last_tile_dropped": (LOOP, LOOP.replace("key < visible", "key + block_keys < visible")),
    "first_tile_dropped": (LOOP, LOOP.replace("int key = 0", "int key = block_keys")),
    "last_key_of_each_tile_dropped": ("for (int key = 0; key < block_keys; ++key)",
                                      "for (int key = 0; key < block_keys - 1; ++key)"),
    "values_of_the_other_key": ("&shared.v[key][thread.column(c)]", "&shared.v[key ^ 1][thread.column(c)]"),
    "keys_of_the_next_head": ("problem.k.head(head, problem.heads)",
                              "problem.k.head((head + 1) % (gridDim.x / tiles), problem.heads)"),
    "values_of_the_next_head": ("problem.v.head(head, problem.heads)",
                                "problem.v.head((head + 1) % (gridDim.x / tiles), problem.heads)"),
    "last_row_of_each_tile_unwritten": ("if (thread.row + r >= valid) continue;",
                                        "if (thread.row + r >= valid - 1) continue;"),
    "scores_summed_in_half": ("thread.scores[r][c] += q[r] * k[c];",
                              "thread.scores[r][c] = __half2float(__float2half(thread.scores[r][c] + q[r] * k[c]));"),
    "values_summed_in_half": ("thread.acc[r][c + i] += weights[r] * v.x[i];",
                              "thread.acc[r][c + i] = "
                              "__half2float(__float2half(thread.acc[r][c + i] + weights[r] * v.x[i]));"),
    "weights_in_five_bits": ("weights[r + i] = pack.x[i];", "weights[r + i] = rintf(pack.x[i] * 32.0f) / 32.0f;"),
}  # fmt: skip
WRONG_WHERE_MASKED = {
    "mask_sees_one_key_more": ("key > last + thread.row + r)", "key > last + thread.row + r + 1)"),
    "mask_sees_one_key_less": ("key > last + thread.row + r)", "key >= last + thread.row + r)"),
    "mask_ignored": ("const int last = problem.causal ? first - key : block_keys;", "const int last = block_keys;"),
}
WRONG_AT_RAGGED_ENDS = {
    "padding_is_a_key": ("if (key >= count || key > last", "if (key > last"),
    "rows_beyond_the_end_written": ("if (thread.row + r >= valid) continue;", ""),
}
"""Where seq_len is no multiple of the tile: not among the required workloads."""
RACES = {
    "next_keys_not_awaited": ("accumulate(thread, shared);\n    __syncthreads();\n", "accumulate(thread, shared);\n"),
}
"""Which may go well: compute-sanitizer's racecheck is to find them."""
MUTANTS = {**WRONG_EVERYWHERE, **WRONG_WHERE_MASKED, **WRONG_AT_RAGGED_ENDS, **RACES}


def source(name: str) -> str:
    """A mutant's text, or that of the control, `right`. Raises ValueError where its piece is not there."""
    mistake = [MUTANTS[name]] if name in MUTANTS else []
    return _replaced((ORIGINAL / SOURCE).read_text(), ONE_KIND, *mistake)


def _replaced(text: str, *replacements: tuple[str, str]) -> str:
    for old, new in replacements:
        if text.count(old) != 1:
            raise ValueError(f"custom_v3 has {text.count(old)} times: {old}")
        text = text.replace(old, new)
    return text
