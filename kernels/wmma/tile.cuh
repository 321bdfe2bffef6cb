// Tiles in shared memory: where an element lies, how rows get there, and how a warp reads operands of mma from them.
#ifndef KERNEL_GATE_WMMA_TILE_CUH
#define KERNEL_GATE_WMMA_TILE_CUH

#include "mma.cuh"

namespace wmma {

constexpr int warp_lanes = 32;
constexpr int chunk_elements = 8;  // 16 bytes: one row of an 8 x 8 matrix, one cp.async, one vector store
constexpr int mma_rows = 16;

// A row keeps its chunks in an order of its own, so that the eight rows of a matrix, one chunk of each, lie in
// different banks (a padded row would do as well, but would not stay aligned to 128 bytes).
template <int head_dim>
struct Layout {
  static constexpr int row_bytes = head_dim * 2;
  static constexpr int chunks = head_dim / chunk_elements;

  static __device__ __forceinline__ uint32_t at(int row, int chunk) {
    const int turn = head_dim == 32 ? (row >> 1) & 3 : row & 7;
    return row * row_bytes + ((chunk ^ turn) << 4);
  }

  // What lane l passes to ldmatrix for rows 0 to 15 and chunks 0 and 1. Chunks 2i and 2i + 1 are at `operand() ^ i << 5`
  // (tiles begin at multiples of a row), and 16 rows on is 16 * row_bytes on. The matrices are, in order, rows 0-7 and 8-15 of the
  // first chunk, then of the second: the order of mma's left operand.
  static __device__ __forceinline__ uint32_t operand(int lane) { return at(lane & 15, lane >> 4); }
};

// One head's rows in device memory. `stride` counts elements.
struct Rows {
  const uint16_t* first;
  int64_t stride;
  int count;
};

// Reads a chunk whose row need not be aligned.
__device__ __forceinline__ uint4 gather(const uint16_t* from) {
  const auto pair = [=](int i) { return from[2 * i] | static_cast<uint32_t>(from[2 * i + 1]) << 16; };
  return make_uint4(pair(0), pair(1), pair(2), pair(3));
}

// `threads` threads copy `rows` rows from row `first` on to the tile at `to`; rows past the last become zeros.
template <int head_dim, int rows, int threads, bool aligned>
__device__ __forceinline__ void copy_rows(unsigned char* to, const Rows& from, int first, int thread) {
  using Map = Layout<head_dim>;
  constexpr int step = threads / Map::chunks;
  static_assert(threads % Map::chunks == 0 && (rows % step == 0 || rows < step), "a thread keeps to one column of chunks");
  const int chunk = thread % Map::chunks, begin = thread / Map::chunks;
  const uint16_t* source = from.first + (first + begin) * from.stride + chunk * chunk_elements;
  if (rows < step && begin >= rows) return;
#pragma unroll
  for (int i = 0; i < (rows + step - 1) / step; ++i, source += step * from.stride) {
    const int row = begin + i * step;
    const bool exists = first + row < from.count;
    unsigned char* target = to + Map::at(row, chunk);
    if (aligned)
      copy_async(shared_address(target), source, exists);
    else
      *reinterpret_cast<uint4*>(target) = exists ? gather(source) : make_uint4(0, 0, 0, 0);
  }
}

}  // namespace wmma
#endif
