// The pass: a block's warpgroups take their queries past the keys of their head, tile after tile.
#ifndef KERNEL_GATE_WGMMA_FORWARD_CUH
#define KERNEL_GATE_WGMMA_FORWARD_CUH

#include "copy.cuh"
#include "softmax.cuh"

namespace wgmma {

// What one warpgroup does.
template <typename Element, int head_dim, typename Shape, bool mapped>
struct Group {
  using Bytes = Memory<Shape, head_dim>;
  using State = Attended<Element, head_dim>;
  static constexpr int block_n = Shape::block_n;
  using Scores = float[block_n / 2];
  using Weights = uint32_t[block_n / 4];

  unsigned char* shared;
  uint32_t base;
  const Problem<Element>& problem;
  Loads<Element, head_dim, Shape, mapped>& loads;
  int group, warp, lane;  // warp: of the warpgroup
  Turn<2> queries;
  Turn<Shape::stages> keys, values;

  __device__ __forceinline__ void run() {
    for (int index = blockIdx.x; index < problem.count; index += gridDim.x) {
      const Tile<Shape> tile(problem, index);
      State state;
      hopper::pin(state.out);
      hopper::wait(base + Bytes::query_barriers + 8 * queries.index, queries.round);
      attend(tile, index, state);
      state.finish();
      const int row_of_tile = group * Shape::group_m + warp * 16;
      store_rows<mapped, head_dim, Shape::block_m>(shared + Bytes::output, row_of_tile, state.out, problem, tile.batch, tile.head,
                                                   tile.row + row_of_tile);
      queries.advance();
    }
    if (mapped && lane == 0) hopper::wait_for_stores();
  }

  // Starts the scores of the next step.
  __device__ __forceinline__ void begin_scores(Scores& scores) {
    hopper::wait(base + Bytes::key_barriers + 8 * keys.index, keys.round);
    const uint32_t left = base + Bytes::queries + queries.index * Bytes::query_bytes + group * Shape::group_m * Bytes::block_row;
    const uint32_t right = base + Bytes::keys + keys.index * Bytes::tile_bytes;
    const auto query = [&](int i) { return hopper::describe(left + i / 4 * Shape::block_m * Bytes::block_row + i % 4 * 32); };
    const auto key = [&](int i) { return hopper::describe(right + i / 4 * block_n * Bytes::block_row + i % 4 * 32); };
    hopper::begin_products();
    hopper::set_product(Element(), scores, query(0), key(0));
#pragma unroll
    for (int i = 1; i < head_dim / 16; ++i) hopper::add_product(Element(), scores, query(i), key(i));
    hopper::commit_products();
    keys.advance();
  }

  // Starts to add a step's weighted values to the output. Returns their stage.
  __device__ __forceinline__ int begin_output(State& state, const Weights& weights) {
    const int stage = values.index;
    hopper::wait(base + Bytes::value_barriers + 8 * stage, values.round);
    const uint32_t right = base + Bytes::values + stage * Bytes::tile_bytes;
    hopper::pin(state.out);
    hopper::begin_products();
#pragma unroll
    for (int i = 0; i < block_n / 16; ++i)
      hopper::add_product(Element(), state.out, weights + 4 * i,
                          hopper::describe(right + i * 16 * Bytes::block_row, block_n * Bytes::block_row));
    hopper::commit_products();
    values.advance();
    return stage;
  }

  // Steps before this one need no mask.
  __device__ __forceinline__ int unmasked(const Tile<Shape>& tile) const {
    return (problem.causal ? tile.row + group * Shape::group_m + 1 : problem.seq_len) / block_n;
  }

  __device__ __forceinline__ void hide(Scores& scores, const Tile<Shape>& tile, int step) const {
    mask(scores, step * block_n + lane % 4 * 2, tile.row + group * Shape::group_m + warp * 16 + lane / 4, problem.seq_len,
         problem.causal);
  }

  // The lane's columns of scores are the columns that it needs of the left operand of the second product.
  static __device__ __forceinline__ void pack(const Scores& scores, Weights& weights) {
#pragma unroll
    for (int i = 0; i < block_n / 4; ++i) weights[i] = hopper::pack(Element(), scores[2 * i], scores[2 * i + 1]);
  }

  __device__ __forceinline__ void attend(const Tile<Shape>& tile, int index, State& state) {
    if constexpr (Shape::order == under)
      attend_under(tile, index, state);
    else
      attend_after(tile, index, state);
  }

  __device__ __forceinline__ void attend_after(const Tile<Shape>& tile, int index, State& state) {
    const int full = unmasked(tile);
    Scores scores;
    Weights weights;
    int used = 0;
    begin_scores(scores);
    for (int step = 0;; ++step) {
      hopper::wait_for_products<0>();
      hopper::pin(scores);
      hopper::pin(state.out);
      if (step > 0) loads.replace_step(used);
      if (step + 1 == tile.steps) loads.replace_queries(queries.index, index + 2 * gridDim.x);
      if (step >= full) hide(scores, tile, step);
      if (CHECK) {
        if (step == 0) state.refer_to(scores, problem.scale_log2);
        state.weigh_and_check(scores, weights, problem.scale_log2);
      } else {
        if (state.refer_to(scores, problem.scale_log2)) state.rescale();
        state.weigh(scores, problem.scale_log2);
        pack(scores, weights);
      }
      used = begin_output(state, weights);
      if (step + 1 == tile.steps) break;
      if (Shape::order == apart) {
        hopper::wait_for_products<0>();
        hopper::pin(state.out);
      }
      begin_scores(scores);
    }
    hopper::wait_for_products<0>();
    hopper::pin(state.out);
    loads.replace_step(used);
  }

  __device__ __forceinline__ void attend_under(const Tile<Shape>& tile, int index, State& state) {
    const int full = unmasked(tile);
    Scores scores;
    Weights weights;
    begin_scores(scores);
    hopper::wait_for_products<0>();
    hopper::pin(scores);
    if (full == 0) hide(scores, tile, 0);
    state.refer_to(scores, problem.scale_log2);
    state.weigh(scores, problem.scale_log2);
    pack(scores, weights);
    for (int step = 1; step < tile.steps; ++step) {
      hopper::pin(weights);
      begin_scores(scores);
      const int used = begin_output(state, weights);
      hopper::wait_for_products<1>();
      hopper::pin(scores);
      if (step >= full) hide(scores, tile, step);
      const bool moved = state.refer_to(scores, problem.scale_log2);
      state.weigh(scores, problem.scale_log2);
      hopper::wait_for_products<0>();
      hopper::pin(weights);
      hopper::pin(state.out);
      if (moved) state.rescale();
      pack(scores, weights);
      loads.replace_step(used);
    }
    loads.replace_queries(queries.index, index + 2 * gridDim.x);
    const int used = begin_output(state, weights);
    hopper::wait_for_products<0>();
    hopper::pin(state.out);
    loads.replace_step(used);
  }
};

template <typename Element, int head_dim, typename Shape, bool mapped>
__global__ void __launch_bounds__(Shape::threads, Shape::blocks_per_sm)
    forward(const __grid_constant__ Problem<Element> problem) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const uint32_t base = hopper::shared_address(shared);
  // The same for all lanes of a warp, as the compiler can see: it keeps what follows from it in uniform registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / hopper::warp_lanes, 0);
  Loads<Element, head_dim, Shape, mapped> loads(shared, base, problem);
  if (warp == 0)
    loads.begin();
  else
    loads.skip();
  if (mapped && threadIdx.x == 0) hopper::prefetch_map(problem.maps.out);
  __syncthreads();
  Group<Element, head_dim, Shape, mapped>{shared, base, problem, loads, warp / hopper::group_warps, warp % hopper::group_warps,
                                          static_cast<int>(threadIdx.x % hopper::warp_lanes)}
      .run();
}

}  // namespace wgmma
#endif
