// The library rung: both products by cuBLAS, and a kernel of our own for the softmax between them.
//
// Since custom_v3: the products run on tensor cores, at the speed of NVIDIA's own code. What is lost is fusion: every
// score makes a round trip through memory, in float32 out and in, in half precision out and in again. The work is cut
// into chunks of heads (workspace_chunks.h), so that most of that trip ends in the L2 cache; weights take the place of the
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
#include "cublas_scores.h"
#include "softmax.cuh"

namespace {

using ladder::Chunk;
using ladder::ChunkSize;
using ladder::Cublas;

template <typename T>
int attend(const attention_args& args, Cublas& cublas, const Chunk& chunk, const ChunkSize& size, void* memory) {
  const int64_t keys = ladder::visible_keys(args, chunk), pitch = size.pitch * int64_t(sizeof(float) / sizeof(T));
  const Cublas::Matrices weights{memory, ladder::cuda_type(args), pitch, chunk.rows * pitch};
  const ladder::ScoreRows rows{static_cast<float*>(memory), chunk.heads * chunk.rows, size.pitch, chunk.rows,
                               chunk.first_row, int(keys), args.causal != 0};

  int status = ladder::multiply_scores(args, cublas, chunk, size, memory);
  if (status == ATTENTION_OK) status = ladder::enqueue_softmax<T>(rows, ladder::stream_of(args));
  if (status != ATTENTION_OK) return status;
  const auto v = ladder::heads_of(args, args.v, args.v_stride, chunk, 0);
  const auto out = ladder::heads_of(args, args.out, args.out_stride, chunk, chunk.first_row);
  const float unit = 1.0f / ladder::weight_unit<T>;
  return cublas.multiply(unit, weights, v, false, out, chunk.rows, args.head_dim, keys, chunk.heads);
}

}  // namespace

size_t attention_workspace_bytes(const attention_args* args) {
  return ladder::SplitWorkspace::bytes(ladder::scores_size(*args));
}

int attention(const attention_args* args) {
  const ChunkSize size = ladder::scores_size(*args);
  return ladder::with_type(*args, [&](auto type) {
    return ladder::for_each_cublas_chunk(*args, size, [&](Cublas& cublas, const Chunk& chunk, void* memory) {
      return attend<typename decltype(type)::type>(*args, cublas, chunk, size, memory);
    });
  });
}
