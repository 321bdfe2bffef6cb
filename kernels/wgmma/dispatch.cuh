// Which tile a problem gets, and the launch.
#ifndef KERNEL_GATE_WGMMA_DISPATCH_CUH
#define KERNEL_GATE_WGMMA_DISPATCH_CUH

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "forward.cuh"
#include "split.cuh"
#include "tensor_map.h"

namespace wgmma {

constexpr int out_box = 16;  // rows that a warp stores at once

// The last two numbers of a shape: registers of a thread that loads, and of one that computes.
using Narrow = Shape<2, 2, STAGES, 32, 112>;
using Wide = Shape<1, 4, WIDE_STAGES, 32, 112>;
// At head size 128 the output alone takes 64 registers of a thread; a warp that gathers needs registers too.
using Roomy = Shape<1, 2, 2, 56, 208>;

// A scale of 0 keeps its sense, and masked scores stay at -inf, if it is merely tiny. The kernel takes maxima before it
// scales, so that a negative scale has to turn the queries.
template <typename Element>
Problem<Element> describe(const attention_args& args) {
  Problem<Element> problem(args);
  problem.scale_log2 = std::max(std::fabs(problem.scale_log2), FLT_MIN);
  problem.sign = args.scale < 0 ? 0x80008000u : 0;
  return problem;
}

template <typename Element>
void divide(Problem<Element>& problem, const attention_args& args, int block_m) {
  problem.tiles = static_cast<int>((args.seq_len + block_m - 1) / block_m);
  problem.count = static_cast<int>(args.batch * args.heads) * problem.tiles;
}

inline bool is_mappable(const attention_args& args) {
  return args.scale >= 0 && is_mappable(args.q, args.q_stride, args) && is_mappable(args.k, args.k_stride, args) &&
         is_mappable(args.v, args.v_stride, args) && is_mappable(args.out, args.out_stride, args);
}

template <typename Shape>
bool map(Maps& maps, const attention_args& args) {
  return map_tensor(maps.q, args.q, args.q_stride, args, Shape::group_m) &&
         map_tensor(maps.k, args.k, args.k_stride, args, Shape::block_n) &&
         map_tensor(maps.v, args.v, args.v_stride, args, Shape::block_n) &&
         map_tensor(maps.out, args.out, args.out_stride, args, out_box);
}

template <typename Kernel, typename Element>
int launch(Kernel kernel, const attention_args& args, const Problem<Element>& problem, int blocks, int cluster, int threads,
           int bytes) {
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) != cudaSuccess)
    return ATTENTION_LAUNCH_FAILED;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {unsigned(cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = ladder::stream_of(args);
  config.attrs = &attribute;
  config.numAttrs = cluster > 1;
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, problem);
  return status == cudaSuccess ? ladder::launch_status() : ATTENTION_LAUNCH_FAILED;
}

inline int multiprocessors() {
  int device = 0, count = 0;
  const bool known = cudaGetDevice(&device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) == cudaSuccess;
  return known ? count : 0;
}

// `blocks` of a cluster share the keys of 64 queries.
template <typename Element, int head_dim, int blocks>
int run_split(const attention_args& args, Problem<Element> problem) {
  using Shared = std::conditional_t<head_dim == 64, Split<blocks, SPLIT_GROUPS, SPLIT_STAGES>, Split<blocks, 2, 2>>;
  divide(problem, args, Shared::block_m);
  return launch(forward_split<Element, head_dim, Shared>, args, problem, problem.count * blocks, blocks, Shared::threads,
                SplitMemory<Shared, head_dim>::bytes);
}

template <typename Element, int head_dim, typename Shape, bool mapped>
int run_tiles(const attention_args& args, Problem<Element> problem, int slots) {
  divide(problem, args, Shape::block_m);
  if (mapped && !map<Shape>(problem.maps, args)) return ATTENTION_LAUNCH_FAILED;
  return launch(forward<Element, head_dim, Shape, mapped>, args, problem, std::min(problem.count, slots), 1, Shape::threads,
                Memory<Shape, head_dim>::bytes);
}

// Tiles of one head.
inline int64_t tiles_of(const attention_args& args, int block_m) { return (args.seq_len + block_m - 1) / block_m; }

// Wide tiles load keys half as often as narrow ones, and are worth it where they leave no multiprocessor idle and pad no more queries.
inline bool suits_wide(const attention_args& args, int slots) {
  const int64_t tiles = tiles_of(args, Wide::block_m);
  return tiles > 1 && 2 * tiles == tiles_of(args, Narrow::block_m) && args.batch * args.heads * tiles >= slots;
}

template <typename Element, int head_dim>
int run_mapped(const attention_args& args, const Problem<Element>& problem, int slots) {
  const int64_t tiles = args.batch * args.heads * tiles_of(args, 64);
  if (2 * tiles <= slots) return run_split<Element, head_dim, 2>(args, problem);
  if (tiles <= slots) return run_split<Element, head_dim, 1>(args, problem);
  if constexpr (head_dim == 128) return run_tiles<Element, 128, Roomy, true>(args, problem, slots);
  if (suits_wide(args, slots)) return run_tiles<Element, 64, Wide, true>(args, problem, slots);
  return run_tiles<Element, 64, Narrow, true>(args, problem, slots);
}

template <typename Element, int head_dim>
int run(const attention_args& args) {
  if (args.batch * args.heads * tiles_of(args, 64) > INT32_MAX) return ATTENTION_UNSUPPORTED;
  const int slots = multiprocessors();
  if (slots == 0) return ATTENTION_LAUNCH_FAILED;
  const Problem<Element> problem = describe<Element>(args);
  if (!is_mappable(args)) return run_tiles<Element, head_dim, Roomy, false>(args, problem, slots);
  return run_mapped<Element, head_dim>(args, problem, slots);
}

}  // namespace wgmma
#endif
