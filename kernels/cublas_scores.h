// The first product by cuBLAS, with its scores in memory; shared by the kernels that keep scores in memory.
#ifndef KERNEL_GATE_CUBLAS_SCORES_H
#define KERNEL_GATE_CUBLAS_SCORES_H

#include "cublas_api.h"
#include "initcheck.h"
#include "type_dispatch.cuh"

#ifndef CHUNK_MIB
#define CHUNK_MIB 32
#endif

namespace ladder {

inline ChunkSize scores_size(const attention_args& args) { return chunk_size(args, sizeof(float), CHUNK_MIB << 20); }

// Enqueues scale * q k^T for the chunk's rows and the keys that they see, in float32, into `scores`.
inline int multiply_scores(const attention_args& args, Cublas& cublas, const Chunk& chunk, const ChunkSize& size,
                           void* scores) {
  const int64_t keys = visible_keys(args, chunk);
  const int status = cublas.multiply(
      args.scale, heads_of(args, args.q, args.q_stride, chunk, chunk.first_row),
      heads_of(args, args.k, args.k_stride, chunk, 0), true,
      Cublas::Matrices{scores, CUDA_R_32F, size.pitch, chunk.rows * size.pitch}, chunk.rows, keys, args.head_dim,
      chunk.heads);
  mark_written(scores, chunk.heads * chunk.rows, keys * sizeof(float), size.pitch * sizeof(float), stream_of(args));
  return status;
}

}  // namespace ladder

#endif
