// The library rung: both products by cuBLAS, and a kernel of our own for the softmax between them.
//
// Since custom_v3: the products run on tensor cores, at the speed of NVIDIA's own code. What is lost is fusion: every
// score makes a round trip through memory, in float32 out and in, in half precision out and in again. The work is cut
// into chunks of heads (chunks.h), so that most of that trip ends in the L2 cache; weights take the place of the
// scores that they come from. Causal chunks still compute every score up to their last row, and mask half of them.
//
// Bottleneck: the bytes of the score matrix.
//
// Floor for B,H,S,D = 32,8,512,64 in float16 on an H200:
//   products  4 B H S^2 D = 17.2 GFLOP, at 990 TFLOP/s dense                   =  17 us
//   scores    B H S^2 = 67.1 M: 4 bytes written, 4 read, 2 written, 2 read
//             = 805 MB, at 4.8 TB/s from HBM                                   = 168 us
//   launches  3 a chunk, one after the other, at about 2 us                    =  48 us for 8 chunks of 32 MiB
//
// Run: kernel-gate run --impl cublas --shape 32,8,512,64
//      kernel-gate run --impl cublas --config CHUNK_MIB=128
//
// Tried and failed:
//   scores in half precision    half the bytes, and wrong: 2.5 times SDPA's error on normal inputs of 512 keys, and 38
//                               times on large logits, where twice that of SDPA is allowed
#include <algorithm>

#include "cublas_api.h"
#include "sanitizer.h"
#include "softmax.cuh"

#ifndef CHUNK_MIB
#define CHUNK_MIB 32
#endif

namespace {

using ladder::Chunk;
using ladder::ChunkSize;
using ladder::Cublas;

ChunkSize scores_size(const attention_args& args) { return ladder::chunk_size(args, sizeof(float), CHUNK_MIB << 20); }

template <typename T>
int attend(const attention_args& args, Cublas& cublas, const Chunk& chunk, const ChunkSize& size, void* memory) {
  const int64_t keys = ladder::visible_keys(args, chunk), widths = sizeof(float) / sizeof(T);
  const auto q = ladder::heads_of(args, args.q, args.q_stride, chunk, chunk.first_row);
  const auto k = ladder::heads_of(args, args.k, args.k_stride, chunk, 0);
  const auto v = ladder::heads_of(args, args.v, args.v_stride, chunk, 0);
  const auto out = ladder::heads_of(args, args.out, args.out_stride, chunk, chunk.first_row);
  const Cublas::Matrices scores{memory, CUDA_R_32F, size.pitch, chunk.rows * size.pitch};
  const Cublas::Matrices weights{memory, q.type, size.pitch * widths, chunk.rows * size.pitch * widths};
  const ladder::ScoreRows rows{static_cast<float*>(memory), chunk.heads * chunk.rows, size.pitch, chunk.rows,
                               chunk.first_row, int(keys), args.causal != 0};

  int status = cublas.multiply(args.scale, q, k, true, scores, chunk.rows, keys, args.head_dim, chunk.heads);
  ladder::mark_written(memory, chunk.heads * chunk.rows, keys * sizeof(float), size.pitch * sizeof(float),
                       ladder::stream_of(args));
  if (status == ATTENTION_OK) status = ladder::enqueue_softmax<T>(rows, ladder::stream_of(args));
  if (status != ATTENTION_OK) return status;
  const float unit = 1.0f / ladder::weight_unit<T>;
  return cublas.multiply(unit, weights, v, false, out, chunk.rows, args.head_dim, keys, chunk.heads);
}

}  // namespace

size_t attention_workspace_bytes(const attention_args* args) {
  return ladder::SplitWorkspace::bytes(scores_size(*args));
}

int attention(const attention_args* args) {
  Cublas* cublas = Cublas::open();
  if (!cublas || !ladder::rows_apart(*args)) return ATTENTION_UNSUPPORTED;
  const ladder::SplitWorkspace workspace(*args);
  const auto lock = cublas->use(ladder::stream_of(*args), workspace.cublas);
  const ChunkSize size = scores_size(*args);
  return ladder::with_type(*args, [&](auto type) {
    return ladder::for_each_chunk(*args, size, [&](const Chunk& chunk) {
      return attend<typename decltype(type)::type>(*args, *cublas, chunk, size, workspace.chunk);
    });
  });
}
