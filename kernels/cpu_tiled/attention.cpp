// Attention on the CPU, first rung: blocked, with an online softmax, in registers as far as they go.
//
// A tile of 64 queries meets 64 keys at a time: scores (tile.h), online softmax (softmax.h), weighted
// values (tile.h). No S x S matrix exists, and only the query tile is ever copied.
//
// Bottleneck: FMA issue. Both products run at more than 90% of it; the softmax, which issues on the same
// ports, takes 12% of the time.
//
// Floor for B,H,S,D = 1,8,512,64, on one core of a Xeon (model 207; 2.74 GHz in a loop of AVX-512 FMAs):
//   peak      2 ports x 16 lanes x 2 FLOP x 2.74 GHz           = 175 GFLOP/s
//   products  4 B H S^2 D = 537 MFLOP                          = 3.07 ms
//   softmax   B H S^2 / 16 = 131 072 vectors x 20 instructions
//             / (2 ports x 2.74 GHz)                           = 0.48 ms
//   bytes     4 B H S D x 4 = 4.2 MB, at the 20 GB/s of memcpy = 0.21 ms, hidden behind the products
// Together 3.55 ms on one core and 1.77 ms on two. Measured: 4.0 and 2.1 ms, where SDPA's flash backend
// (torch 2.13) takes 4.7 and 2.75 ms.
//
// Run: kernel-gate run --impl cpu_tiled --shape 1,8,512,64
//
// Tried and failed, in ms on one core where 4.0 is this file:
//   one sum per dot product, not one per 16 terms  3.9, but 1.7 times the error allowed at head_dim 128
//   and that inlined into the parallel loop        5.2: GCC 12 loaded every column once per row
//   broadcasting rows first, with columns inside   5.3
//   blocks of 8 x 2, 4 x 2, 2 x 4 vectors          4.1, 4.4, 4.7: more loads per FMA
//   32, 128, 256 keys at a time                    4.0, 4.05, 4.15
#include "attention.h"

#include <algorithm>
#include <cmath>

#include "softmax.h"
#include "tile.h"

namespace cpu_tiled {

template <int head_dim>
struct Scratch {
  alignas(64) float query_columns[head_dim * queries];
  alignas(64) float scores[keys_at_once * queries];
  alignas(64) float out[queries * head_dim];
  Statistics statistics;
};

// Where one tile of queries finds its tensors: q and out at its first query, k and v at key 0.
struct Tile {
  const float *q, *k, *v;
  float* out;
  int64_t first, count;

  Tile(const attention_args& args, int64_t batch, int64_t head, int64_t first)
      : first(first), count(std::min<int64_t>(queries, args.seq_len - first)) {
    const auto offset = [=](const int64_t* stride) { return batch * stride[0] + head * stride[1]; };
    q = static_cast<const float*>(args.q) + offset(args.q_stride) + first * args.q_stride[2];
    k = static_cast<const float*>(args.k) + offset(args.k_stride);
    v = static_cast<const float*>(args.v) + offset(args.v_stride);
    out = static_cast<float*>(args.out) + offset(args.out_stride) + first * args.out_stride[2];
  }
};

// The last tile repeats the last query rather than read past it. The queries take the sign of the scale, so
// that the largest score has the largest weight.
template <int head_dim>
void load_queries(Scratch<head_dim>& scratch, const Tile& tile, int64_t stride, float sign) {
  for (int64_t i = 0; i < queries; ++i)
    for (int d = 0; d < head_dim; ++d)
      scratch.query_columns[d * queries + i] = sign * tile.q[std::min(i, tile.count - 1) * stride + d];
}

template <int head_dim>
void store_out(const Scratch<head_dim>& scratch, const Tile& tile, int64_t stride) {
  for (int64_t i = 0; i < tile.count; ++i)
    for (int d = 0; d < head_dim; ++d)
      tile.out[i * stride + d] = scratch.out[i * head_dim + d] / scratch.statistics.sum[i];
}

template <int head_dim>
void attend(Scratch<head_dim>& scratch, const attention_args& args, const Tile& tile) {
  const Exponential exponential(std::fabs(args.scale));
  load_queries(scratch, tile, args.q_stride[2], std::copysign(1.0f, args.scale));
  reset(scratch.statistics);
  std::fill_n(scratch.out, queries * head_dim, 0.0f);
  const int64_t visible = args.causal ? tile.first + tile.count : args.seq_len;
  for (int64_t j = 0; j < visible; j += keys_at_once) {
    const int64_t keys = std::min<int64_t>(keys_at_once, visible - j);
    const float* k = tile.k + j * args.k_stride[2];
    const float* v = tile.v + j * args.v_stride[2];
    score<head_dim>(scratch.scores, scratch.query_columns, k, args.k_stride[2], keys);
    if (args.causal && j + keys > tile.first) mask(scratch.scores, tile.first - j, keys);
    online_softmax(scratch.scores, keys, exponential, scratch.statistics);
    accumulate<head_dim>(scratch.out, scratch.statistics.rescale, scratch.scores, v, args.v_stride[2], keys);
  }
  store_out(scratch, tile, args.out_stride[2]);
}

// Tiles are dealt one by one, and from the end of each head, where causal ones are longest, so that no
// thread is left with much when the others are done.
template <int head_dim>
int attend_all(const attention_args& args) {
  const int64_t tiles = (args.seq_len + queries - 1) / queries;
  const int64_t tasks = args.batch * args.heads * tiles;
#pragma omp parallel if (tasks > 1)
  {
    Scratch<head_dim> scratch;
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < tasks; ++task) {
      const int64_t head = task / tiles, last = tiles - 1 - task % tiles;
      attend(scratch, args, Tile(args, head / args.heads, head % args.heads, last * queries));
    }
  }
  return ATTENTION_OK;
}

}  // namespace cpu_tiled

int attention(const attention_args* args) {
  if (args->dtype != ATTENTION_FLOAT32) return ATTENTION_UNSUPPORTED;
  switch (args->head_dim) {
    case 32: return cpu_tiled::attend_all<32>(*args);
    case 64: return cpu_tiled::attend_all<64>(*args);
    case 128: return cpu_tiled::attend_all<128>(*args);
    default: return ATTENTION_UNSUPPORTED;
  }
}

// Scratch lies on each thread's stack (at most 81 KiB), for this interface cannot tell how many threads a
// later call will have.
size_t attention_workspace_bytes(const attention_args*) { return 0; }
