// Tiles of the two hybrids for nvcuda::wmma: every warp of a block computes 16 rows and iterates over 64 keys at a time.
// They share this and not the kernels: one keeps scores in memory and the other weights.
#ifndef KERNEL_GATE_SCORE_TILE_CUH
#define KERNEL_GATE_SCORE_TILE_CUH

#include <mma.h>

#include "cublas_api.h"
#include "softmax.cuh"
#include "tensor_view.cuh"

#ifndef CHUNK_MIB
#define CHUNK_MIB 32
#endif
#ifndef NUM_WARPS
#define NUM_WARPS 4
#endif

namespace ladder {

constexpr int warp_rows = 16, block_rows = warp_rows * NUM_WARPS, block_keys = 64, threads = 32 * NUM_WARPS;

inline int row_tiles(const Chunk& chunk) { return int((chunk.rows + block_rows - 1) / block_rows); }

// How a lane meets a warp's tile: two rows at a time, 16 lanes each, four neighbouring scores a lane.
struct Lane {
  const int half = threadIdx.x % 32 / 16, column = threadIdx.x % 16 * 4;

  __device__ int row(int i) const { return half + 2 * i; }
};

// Calls attend(Type<T>, Int<head_dim>, args, cublas, chunk, size, memory) for each chunk, in half precision.
template <typename Attend>
int for_each_half_chunk(const attention_args& args, const ChunkSize& size, Attend attend) {
  return with_half_type(args, [&](auto type) {
    return with_head_dim(args, [&](auto head_dim) {
      return for_each_cublas_chunk(args, size, [&](Cublas& cublas, const Chunk& chunk, void* memory) {
        return attend(type, head_dim, args, cublas, chunk, size, memory);
      });
    });
  });
}

}  // namespace ladder

#endif
