// How a block divides its work, what lies where in its shared memory, and the problem that it works on.
#ifndef KERNEL_GATE_WGMMA_SHAPE_CUH
#define KERNEL_GATE_WGMMA_SHAPE_CUH

#include "hopper.cuh"

namespace wgmma {

// A block has `teams`, each of `groups` warpgroups that take a tile of queries, 64 each, past the keys of its head, `block_n` keys at a
// step; the keys and values of `stages` steps are in its shared memory. One more warpgroup, a warp for each team, loads: it
// gives registers to the others.
template <int teams_, int groups_, int stages_, int loader_registers_, int registers_>
struct Shape {
  static constexpr int teams = teams_, groups = groups_, stages = stages_;
  static constexpr int loader_registers = loader_registers_, registers = registers_;
  static constexpr int group_m = 64, block_m = groups * group_m, block_n = 64;
  static constexpr int workers = teams * groups, threads = (workers + 1) * hopper::group_threads;
  static_assert(teams <= hopper::group_warps, "each team has a warp that loads for it");
};

// Where things lie, in bytes. For each team: its queries, this tile's and the next one's; a ring of keys and one of
// values; the output, on its way to the copy engine. Then each team's barriers, pairs of one that counts arriving bytes and one
// that counts the warps that are done. Rows longer than 128 bytes are kept as blocks of 128 bytes of all rows, one after the other.
template <typename Shape, int head_dim>
struct Memory {
  static constexpr int block_row = 128, tiles_of_queries = 2;
  static constexpr int query_bytes = Shape::block_m * head_dim * 2, tile_bytes = Shape::block_n * head_dim * 2;
  static constexpr int queries = 0, keys = tiles_of_queries * query_bytes, values = keys + Shape::stages * tile_bytes;
  static constexpr int output = values + Shape::stages * tile_bytes, team_bytes = output + query_bytes;
  static constexpr int barriers = Shape::teams * team_bytes, pair = 16;
  static constexpr int query_barriers = 0, key_barriers = tiles_of_queries * Shape::groups * pair;
  static constexpr int value_barriers = key_barriers + Shape::stages * pair;
  static constexpr int team_barriers = value_barriers + Shape::stages * pair;
  static constexpr int bytes = barriers + Shape::teams * team_barriers;
};

// The part of a ring of `count` that a warp is at. `round` has the parity of the phase of the part's barriers.
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
