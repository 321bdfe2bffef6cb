// How a block divides its work, and the problem that it works on.
#ifndef KERNEL_GATE_WMMA_SHAPE_CUH
#define KERNEL_GATE_WMMA_SHAPE_CUH

#include "tile.cuh"

namespace wmma {

// A block takes `block_m` queries past `block_n` keys at a time. Warps divide the queries among them, `warp_m` each; warps that
// are left over divide the keys of each step, and the block adds up their parts at the end.
template <int block_m_, int block_n_, int warp_m_, int warps, int stages_, int blocks_per_sm_>
struct Shape {
  static constexpr int block_m = block_m_, block_n = block_n_, warp_m = warp_m_;
  static constexpr int stages = stages_, blocks_per_sm = blocks_per_sm_;
  static constexpr int threads = warps * warp_lanes;
  static constexpr int row_groups = block_m / warp_m, key_groups = warps / row_groups;
  static constexpr int warp_n = block_n / key_groups, group_threads = threads / key_groups;
  static_assert(warp_m % mma_rows == 0 && block_m % warp_m == 0, "WARP_M is 16 or 32, and divides BLOCK_M");
  static_assert(warps % row_groups == 0, "NUM_WARPS is a multiple of BLOCK_M / WARP_M");
  static_assert(block_n % key_groups == 0 && warp_n % mma_rows == 0, "each warp gets a multiple of 16 keys of BLOCK_N");
  static_assert(stages >= 2, "one step's keys are loaded while another's are used");
};

struct Tensor {
  uint16_t* first;
  int64_t batch, head, row;  // strides, in elements

  __device__ __forceinline__ uint16_t* at(int b, int h) const { return first + b * batch + h * head; }
};

struct Problem {
  Tensor q, k, v, out;
  int heads, seq_len, tiles;  // tiles: of one head
  float scale_log2;           // of scores, to exponents of 2; positive
  uint32_t sign;              // flips the signs of a pair of elements of q where the scale is negative
  bool causal;
};

// Bytes of shared memory: the queries (later the output), the stages of keys and values; in the end, the warps' parts.
template <typename Shape, int head_dim>
struct Memory {
  static constexpr int row_bytes = Layout<head_dim>::row_bytes;
  static constexpr int tile_bytes = Shape::block_n * row_bytes, stage_bytes = 2 * tile_bytes;
  static constexpr int query_bytes = Shape::block_m * row_bytes;
  // 8 words of padding spread the eight rows that a warp writes at once over all banks.
  static constexpr int part_row = head_dim + 8;
  static constexpr int parts = Shape::key_groups * Shape::block_m;
  static constexpr int part_bytes = Shape::key_groups == 1 ? 0 : parts * (part_row + 2) * int(sizeof(float));
  static constexpr int loop_bytes = query_bytes + Shape::stages * stage_bytes;
  static constexpr int bytes = loop_bytes > part_bytes ? loop_bytes : part_bytes;
};

}  // namespace wmma
#endif
