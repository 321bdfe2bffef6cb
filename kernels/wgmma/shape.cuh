// How a block divides its work, what lies where in its shared memory, and the problem that it works on.
#ifndef KERNEL_GATE_WGMMA_SHAPE_CUH
#define KERNEL_GATE_WGMMA_SHAPE_CUH

#include "hopper.cuh"

namespace wgmma {

// What a warpgroup's tensor cores are given at once.
enum Order {
  apart = 0,     // one product after the other
  together = 1,  // a step's output, and behind it the next step's scores
  under = 2,     // the next step's scores, and behind them a step's output, under the next step's softmax
};

// A block has `groups` warpgroups of 64 queries each, which take `block_n` keys at a step; the keys and values of `stages` steps
// are in its shared memory.
template <int groups_, int block_n_, int stages_, int blocks_per_sm_, int order_>
struct Shape {
  static constexpr int groups = groups_, block_n = block_n_, stages = stages_, blocks_per_sm = blocks_per_sm_;
  static constexpr int order = order_;
  static constexpr int group_m = 64, block_m = groups * group_m;
  static constexpr int threads = groups * hopper::group_threads, warps = threads / hopper::warp_lanes;
  static_assert(block_n == 64 || block_n == 128, "wgmma is wrapped for 64 and 128 columns");
  static_assert(stages >= 2, "a stage is free for loads only one step after its keys were used");
};

// Where things lie, in bytes: two tiles of queries, for this tile and the next; a ring of keys and one of values; the output, on
// its way to the copy engine; barriers that count arriving bytes, and counters of the warps that are done. Rows longer
// than 128 bytes are kept as blocks of 128 bytes of all rows, one after the other.
template <typename Shape, int head_dim>
struct Memory {
  static constexpr int block_row = 128;
  static constexpr int query_bytes = Shape::block_m * head_dim * 2, tile_bytes = Shape::block_n * head_dim * 2;
  static constexpr int queries = 0, keys = 2 * query_bytes, values = keys + Shape::stages * tile_bytes;
  static constexpr int output = values + Shape::stages * tile_bytes, barriers = output + query_bytes;
  static constexpr int query_barriers = barriers, key_barriers = barriers + 2 * 8;
  static constexpr int value_barriers = key_barriers + Shape::stages * 8, counters = value_barriers + Shape::stages * 8;
  static constexpr int query_counters = counters, stage_counters = counters + 2 * 4;
  static constexpr int bytes = stage_counters + Shape::stages * 4;
};

// The part of a ring of `count` that a thread is at. `round` has the parity of the phase of the part's barrier.
template <int count>
struct Turn {
  int index = 0;
  uint32_t round = 0;

  __device__ __forceinline__ void advance() {
    if (++index == count) {
      index = 0;
      round ^= 1;
    }
  }
};

struct Maps {
  CUtensorMap q, k, v, out;
};

template <typename Element>
struct Problem : ladder::Problem<Element> {
  Maps maps;         // where the copy engine can read and write these tensors
  int tiles, count;  // of one head; of all heads
  uint32_t sign;     // flips the signs of a pair of elements of q where the scale is negative: `scale_log2` is positive

  using ladder::Problem<Element>::Problem;
};

// One tile of queries of one head, and its steps.
template <typename Shape>
struct Tile {
  int batch, head, row, steps;

  // Neighbouring tiles share a head, and so its keys in L2; the last tile, the longest where causal, comes first.
  template <typename Element>
  __device__ __forceinline__ Tile(const Problem<Element>& problem, int index) {
    const int head_of_all = index / problem.tiles, heads = static_cast<int>(problem.heads);
    batch = head_of_all / heads;
    head = head_of_all - batch * heads;
    row = (problem.tiles - 1 - (index - head_of_all * problem.tiles)) * Shape::block_m;
    const int last = problem.causal ? min(row + Shape::block_m, problem.seq_len) : problem.seq_len;
    steps = (last + Shape::block_n - 1) / Shape::block_n;
  }
};

}  // namespace wgmma
#endif
