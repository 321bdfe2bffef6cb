// The tensor-core rung: one fused pass after FlashAttention-2 (Dao, 2023), on mma.sync.
//
// Since cublas, the rung before: scores never leave the registers. A warp keeps WARP_M queries there, streams keys and values past
// them through a ring of STAGES in shared memory (cp.async), and the scores that mma leaves in a lane are, packed
// to pairs, the left operand that the second mma wants of that lane. What else is not in every such kernel:
//   references  a row's exponentials are taken relative to a score near its maximum, not at it (softmax.cuh): nearly every
//               step is free of shuffles between lanes and of multiplications of the output so far
//   key groups  where queries are too few to fill the GPU, the warps of a block share its queries and divide the
//               keys, each with a ring and a barrier of its own, and add up at the end (output.cuh)
// mma.cuh has the instructions, tile.cuh shared memory, shape.cuh the division of work, forward.cuh the pass, dispatch.cuh the launch.
//
// Bottleneck: tensor cores and exponentials, in turns within a warp; only other warps overlap them.
//
// Floor for B,H,S,D = 32,8,512,64 in float16 on an H200 (132 multiprocessors at 1.83 GHz):
//   products  4 B H S^2 D = 17.2 GFLOP, at 62% of 990 TFLOP/s, about what mma.sync is reported to reach of
//             Hopper's tensor cores (Luo et al., 2024, arXiv:2402.13499)                   = 28 us
//   exp2      B H S^2 = 67.1 M, at 16 a clock on each multiprocessor              = 17 us
//   the rest  of the softmax, 3.5 instructions a score, at 128 lanes a clock      =  8 us
//   ldmatrix  K and V once per 32 queries, 537 MB, at 128 bytes a clock           = 17 us (34 per 16 queries)
//   bytes     4 B H S D x 2 = 67.1 MB, at 4.8 TB/s                                = 14 us
// So 28 us where all of it overlaps, and 53 us where products and softmax do not.
//
// Run: kernel-gate run --impl wmma --shape 32,8,512,64
//      kernel-gate run --impl wmma --config "BLOCK_M=64,WARP_M=16"
//
// Measured there (2026-11-21, driver 580.159.04, 10 replicates): 66 us, 0.900 [0.896, 0.904] of SDPA's flash. Counters: tensor cores
// 43% busy, 8 warps a multiprocessor (233 registers), which wait a third of the time for the instruction before.
//
// Tried and failed, one measurement each on the same GPU, of (32,8,512,64):
//   scores of the next step computed ahead     69 us and more: the registers that they take cost more than they hide
//   256 queries a block, 8 warps               74 us
//   64 queries a block, 16 a warp              70 us, and 11 where 32 queries and divided keys take 8.5 at (1,8,512,64)
//   a third stage                              67 us, no faster anywhere
// As ptxas tells before anything runs (sm_90, head_dim 64):
//   128 keys a step, 32 queries a warp     255 registers, 80 bytes of spills
//   32 keys a step in 168 registers        16 bytes of spills: three blocks do not fit on a multiprocessor
#include "attention.h"

#ifndef BLOCK_M
#define BLOCK_M 128
#define BLOCK_N 64
#define WARP_M 32
#define NUM_WARPS 4
#define STAGES 2
#define BLOCKS_PER_SM 2
#define SMALL_BLOCK_M 32
#define SMALL_BLOCK_N 128
#define SMALL_WARP_M 16
#define SMALL_NUM_WARPS 8
#define SMALL_STAGES 2
#endif
#include "dispatch.cuh"

namespace wmma {

template <typename Element>
int run_any(const attention_args& args) {
  switch (args.head_dim) {
    case 32: return run<Element, 32>(args);
    case 64: return run<Element, 64>(args);
    case 128: return run<Element, 128>(args);
    default: return ATTENTION_UNSUPPORTED;
  }
}

}  // namespace wmma

int attention(const attention_args* args) {
  switch (args->dtype) {
    case ATTENTION_FLOAT16: return wmma::run_any<wmma::Float16>(*args);
    case ATTENTION_BFLOAT16: return wmma::run_any<wmma::BFloat16>(*args);
    default: return ATTENTION_UNSUPPORTED;
  }
}

size_t attention_workspace_bytes(const attention_args*) { return 0; }
