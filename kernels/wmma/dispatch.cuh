// Which tile a problem gets, and the launch.
#ifndef KERNEL_GATE_WMMA_DISPATCH_CUH
#define KERNEL_GATE_WMMA_DISPATCH_CUH

#include <algorithm>
#include <cmath>

#include "attention.h"
#include "forward.cuh"

namespace wmma {

constexpr double log2_e = 1.4426950408889634;

constexpr int least(int a, int b) { return a < b ? a : b; }

// At head size 128, 16 rows of output take the registers that 32 rows take at 64.
template <int head_dim>
struct Shapes {
  static constexpr int warp_m = head_dim == 128 ? 16 : WARP_M;
  using Large = Shape<least(BLOCK_M, NUM_WARPS * warp_m), BLOCK_N, warp_m, NUM_WARPS, STAGES, head_dim == 128 ? 1 : BLOCKS_PER_SM>;
  static constexpr int small_n = head_dim == 128 ? least(SMALL_BLOCK_N, 64) : SMALL_BLOCK_N;
  static constexpr int small_warp_m = head_dim == 128 ? 16 : SMALL_WARP_M;
  using Small = Shape<SMALL_BLOCK_M, small_n, small_warp_m, SMALL_NUM_WARPS, SMALL_STAGES, 1>;
};

inline Tensor tensor(const void* first, const int64_t (&stride)[4]) {
  return {static_cast<uint16_t*>(const_cast<void*>(first)), stride[0], stride[1], stride[2]};
}

// A scale of 0 keeps its sense, and masked scores stay at -inf, if it is merely tiny. The kernel takes maxima before it
// scales, so that a negative scale has to turn the queries.
inline Problem describe(const attention_args& args) {
  Problem problem{tensor(args.q, args.q_stride), tensor(args.k, args.k_stride), tensor(args.v, args.v_stride),
                  tensor(args.out, args.out_stride)};
  problem.heads = static_cast<int>(args.heads);
  problem.seq_len = static_cast<int>(args.seq_len);
  problem.scale_log2 = std::max(static_cast<float>(std::fabs(args.scale) * log2_e), FLT_MIN);
  problem.sign = args.scale < 0 ? 0x80008000u : 0;
  problem.causal = args.causal != 0;
  return problem;
}

// Whether each row begins at a multiple of 16 bytes.
inline bool is_aligned(const Tensor& tensor) {
  const int64_t elements = tensor.batch | tensor.head | tensor.row;
  return elements % chunk_elements == 0 && reinterpret_cast<uintptr_t>(tensor.first) % 16 == 0;
}

inline int64_t blocks_of(const attention_args& args, int block_m) {
  return args.batch * args.heads * ((args.seq_len + block_m - 1) / block_m);
}

template <typename Element, int head_dim, typename Shape, bool aligned>
int launch(const attention_args& args, Problem problem) {
  constexpr int bytes = Memory<Shape, head_dim>::bytes;
  const auto kernel = forward<Element, head_dim, Shape, aligned>;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) != cudaSuccess)
    return ATTENTION_LAUNCH_FAILED;
  problem.tiles = static_cast<int>((args.seq_len + Shape::block_m - 1) / Shape::block_m);
  const auto blocks = static_cast<unsigned>(blocks_of(args, Shape::block_m));
  kernel<<<blocks, Shape::threads, bytes, static_cast<cudaStream_t>(args.stream)>>>(problem);
  return cudaGetLastError() == cudaSuccess ? ATTENTION_OK : ATTENTION_LAUNCH_FAILED;
}

// Large tiles read K and V less often; small ones where large ones would leave multiprocessors idle.
template <typename Element, int head_dim>
int run(const attention_args& args) {
  using Large = typename Shapes<head_dim>::Large;
  using Small = typename Shapes<head_dim>::Small;
  if (blocks_of(args, Small::block_m) > INT32_MAX) return ATTENTION_UNSUPPORTED;
  const Problem problem = describe(args);
  if (!is_aligned(problem.q) || !is_aligned(problem.k) || !is_aligned(problem.v) || !is_aligned(problem.out))
    return launch<Element, head_dim, Small, false>(args, problem);
  int device = 0, multiprocessors = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    return ATTENTION_LAUNCH_FAILED;
  return blocks_of(args, Large::block_m) < multiprocessors ? launch<Element, head_dim, Small, true>(args, problem)
                                                           : launch<Element, head_dim, Large, true>(args, problem);
}

}  // namespace wmma
#endif
