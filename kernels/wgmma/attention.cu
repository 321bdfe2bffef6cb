// The Hopper rung: the tensor-core pass on wgmma, fed by the copy engine.
//
// Since wmma: products of 64 rows run beside the threads that start them, and read keys and values from shared memory, where the copy
// engine puts them without a thread's help. What else is not in every such kernel:
//   no maximum  a row's exponentials are taken relative to 0 until the sum of its weights says that this will not do (softmax.cuh):
//               112 instead of 144 instructions for 32 scores. Where references have to move, scores are computed
//               twice: such inputs (large logits) are right, and take up to twice the time (NOTES.md)
//   loaders     a warp loads for the warpgroups of its team and gives them its registers (setmaxnreg)
//   split keys  where tiles are too few to fill the GPU, two blocks of a cluster divide the keys of 64 queries (split.cuh)
// hopper.cuh has the instructions, shape.cuh the division of work, copy.cuh loads and stores, softmax.cuh the softmax, forward.cuh
// the pass, split.cuh the one for few tiles, dispatch.cuh the choice between them and the launch, tensor_map.h the tensors' descriptions
// for the copy engine.
//
// Bottleneck: latency. Left out at S = 1024 (of 134 us), exp2 saves 12%, the softmax 24%, products 17%: nothing binds alone.
//
// Floor for B,H,S,D = 32,8,1024,64 in float16 on an H200 (132 multiprocessors at 1.83 GHz, 2.03 M scores each):
//   products  4 D operations a score, at 4096 a clock              = 0.0625 clocks a score = 69 us
//   exp2      one a score, at 16 a clock                           = 0.0625 clocks a score = 69 us
//   the rest  of the softmax, 3.5 instructions a score, 128 lanes  = 0.027 clocks a score  = 30 us
//   bytes     4 B H S D x 2 = 134 MB, at 4.8 TB/s                  = 28 us
// So 69 us where all of it overlaps, and 138 us where products and exp2 do not.
//
// Run: kernel-gate run --impl wgmma --baseline best
//
// What was measured, and what was tried and failed: NOTES.md.
#include "attention.h"

#ifndef STAGES
#define STAGES 4
#define WIDE_STAGES 8
#define SPLIT_GROUPS 2
#define SPLIT_STAGES 2
#endif
#include "dispatch.cuh"

namespace wgmma {

template <typename Element>
int run_any(const attention_args& args) {
  switch (args.head_dim) {
    case 64: return run<Element, 64>(args);
    case 128: return run<Element, 128>(args);
    default: return ATTENTION_UNSUPPORTED;
  }
}

}  // namespace wgmma

int attention(const attention_args* args) {
  return ladder::with_half_type(*args, [&](auto type) { return wgmma::run_any<typename decltype(type)::type>(*args); });
}

size_t attention_workspace_bytes(const attention_args*) { return 0; }
