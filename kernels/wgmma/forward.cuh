// The pass where there is work for all multiprocessors: a team's warpgroups take their queries past the keys of their head, tile after
// tile. A block stays as long as there are tiles: the next one's loads run under this one's last steps, and its first scores under
// this one's store.
//
// Four warpgroups a multiprocessor take turns between tensor cores and exponentials; within one of them the product of weights and
// values of a step runs under the softmax of the next. In one team all four share 256 queries, so that keys are loaded least often;
// two teams of two have tiles of 128 queries that differ, so that few queries are padding where keys are few.
#ifndef KERNEL_GATE_WGMMA_FORWARD_CUH
#define KERNEL_GATE_WGMMA_FORWARD_CUH

#include "copy.cuh"
#include "softmax.cuh"

namespace wgmma {

// What one warpgroup does. While a step's weights are computed, the tensor cores add the values of the step before to the output; while
// a tile's output is stored, they compute the first scores of the next.
template <typename Element, int head_dim, typename Shape, bool mapped>
struct Group {
  using Bytes = Memory<Shape, head_dim>;
  static constexpr int block_n = Shape::block_n, depth = head_dim / 16;

  unsigned char* shared;  // of the team
  uint32_t base, barriers;
  const Problem<Element>& problem;
  int group, warp, lane;  // warp: of the warpgroup

  Attended<Element, head_dim> state;
  float scores[block_n / 2];
  uint32_t weights[block_n / 4];
  Turn<Bytes::tiles_of_queries> queries;
  Turn<Shape::stages> values, keys, next;  // stages: of the values and the keys that are needed first, and the keys after those

  __device__ __forceinline__ void wait(int first, int index, uint32_t round) const {
    hopper::wait(barriers + first + index * Bytes::pair, round);
  }
  __device__ __forceinline__ void release(int first, int index) const {
    if (lane == 0) hopper::arrive(barriers + first + index * Bytes::pair + 8);
  }

  // The warp's rows of 16 columns of its queries, as a left operand in registers.
  __device__ __forceinline__ void read_queries(int i, unsigned lane, uint32_t* to) const {
    hopper::load_matrices(base + Bytes::queries + queries.index * Bytes::query_bytes +
                              place<Shape::block_m>(group * Shape::group_m + warp * 16 + lane % 16, 2 * i + lane / 16),
                          to);
  }

  __device__ __forceinline__ void wait_for_queries() const {
    wait(Bytes::query_barriers, queries.index * Shape::groups + group, queries.round);
  }
  __device__ __forceinline__ void release_queries() {
    release(Bytes::query_barriers, queries.index * Shape::groups + group);
    queries.advance();
  }

  // Starts the scores of the next step, whose keys have arrived.
  __device__ __forceinline__ void begin_scores() {
    const hopper::Operand left(base + Bytes::queries + queries.index * Bytes::query_bytes + group * Shape::group_m * Bytes::block_row);
    const hopper::Operand right(base + Bytes::keys + keys.index * Bytes::tile_bytes);
    const auto query = [&](int i) { return left.forward(i / 4 * Shape::block_m * Bytes::block_row + i % 4 * 32); };
    const auto key = [&](int i) { return right.forward(i / 4 * block_n * Bytes::block_row + i % 4 * 32); };
    hopper::begin_products();
    hopper::set_product(Element(), scores, query(0), key(0));
#pragma unroll
    for (int i = 1; i < depth; ++i) hopper::add_product(Element(), scores, query(i), key(i));
    hopper::commit_products();
  }

  // Starts to add a step's weighted values, which have arrived, to the output.
  __device__ __forceinline__ void begin_output(bool adds) {
    const hopper::Operand right(base + Bytes::values + values.index * Bytes::tile_bytes, block_n * Bytes::block_row);
    hopper::begin_products();
#pragma unroll
    for (int i = 0; i < block_n / 16; ++i)
      hopper::weigh_product(Element(), state.out, weights + 4 * i, right.forward(i * 16 * Bytes::block_row), i > 0 || adds);
    hopper::commit_products();
  }

  __device__ __forceinline__ void wait_for_keys() const { wait(Bytes::key_barriers, keys.index, keys.round); }
  __device__ __forceinline__ void wait_for_values() const { wait(Bytes::value_barriers, values.index, values.round); }
  __device__ __forceinline__ void release_keys() const { release(Bytes::key_barriers, keys.index); }
  __device__ __forceinline__ void release_values() const { release(Bytes::value_barriers, values.index); }
  __device__ __forceinline__ void advance() {
    values = keys;
    keys = next;
    next.advance();
  }

  // Steps before this one need no mask.
  __device__ __forceinline__ int unmasked(const Tile<Shape>& tile) const {
    return (problem.causal ? tile.row + group * Shape::group_m + 1 : problem.seq_len) / block_n;
  }

  __device__ __forceinline__ void hide(const Tile<Shape>& tile, int step) {
    unsigned its_lane = lane;
    hopper::hide_origin(its_lane);
    mask(scores, step * block_n + int(its_lane % 4 * 2), tile.row + group * Shape::group_m + warp * 16 + int(its_lane / 4), problem.seq_len,
         problem.causal);
  }

  // The step's scores once more, by the warp alone: the other warps do not know that it needs them.
  __device__ __forceinline__ void repeat_scores() {
    unsigned its_lane = lane;
    hopper::hide_origin(its_lane);
    const uint32_t right = base + Bytes::keys + keys.index * Bytes::tile_bytes;
#pragma unroll
    for (int i = 0; i < block_n / 2; ++i) scores[i] = 0;
#pragma unroll 1
    for (int i = 0; i < depth; i += 2) {
      uint32_t left[8];
      read_queries(i, its_lane, left);
      read_queries(i + 1, its_lane, left + 4);
      const uint32_t eight_rows = right + place<block_n>(its_lane % 8, 2 * i + its_lane / 8);
#pragma unroll
      for (int n = 0; n < block_n / 8; ++n) {
        uint32_t four[4];
        hopper::load_matrices(eight_rows + n * 8 * Bytes::block_row, four);
        hopper::multiply(Element(), scores + 4 * n, left, four[0], four[1]);
        hopper::multiply(Element(), scores + 4 * n, left + 4, four[2], four[3]);
      }
    }
    __syncwarp();  // all lanes have read: any of them may say that the warp is done
  }

  // Scores to weights. Where references have to move, the output is waited for.
  __device__ __forceinline__ void weigh(const Tile<Shape>& tile, int step, bool masked) {
    float sums[2];
    if (state.weigh(scores, sums, problem.scale_log2)) {
      wait_for_output();
      repeat_scores();
      if (masked) hide(tile, step);
      state.template move_references<true>(scores, problem.scale_log2);
      state.weigh(scores, sums, problem.scale_log2);
#pragma unroll
      for (int i = 0; i < block_n / 4; ++i) weights[i] = 0;  // else the compiler keeps the last ones until it is done with these
    }
    state.total[0] += sums[0];
    state.total[1] += sums[1];
  }

  __device__ __forceinline__ void wait_for_output() {
    hopper::wait_for_products<0>();
    hopper::pin(weights);
    hopper::pin(state.out);
  }

  // The steps of a tile, but for the last product. The first scores are under way.
  __device__ __forceinline__ void attend(const Tile<Shape>& tile) {
    const int full = unmasked(tile);
    hopper::wait_for_products<0>();
    hopper::pin(scores);
    release_keys();
    advance();
    if (full == 0) hide(tile, 0);
    state.weigh_first(scores, weights, problem.scale_log2);
    for (int step = 1; step < tile.steps; ++step) {
      wait_for_keys();
      wait_for_values();
      hopper::pin(weights);
      hopper::pin(state.out);
      begin_scores();
      begin_output(step > 1);
      hopper::wait_for_products<1>();
      hopper::pin(scores);
      if (step >= full) hide(tile, step);
      weigh(tile, step, step >= full);
      release_keys();
      wait_for_output();
      release_values();
      advance();
      // The lane's columns of scores are the columns that it needs of the left operand of the second product.
#pragma unroll
      for (int i = 0; i < block_n / 4; ++i) weights[i] = hopper::pack(Element(), scores[2 * i], scores[2 * i + 1]);
    }
    release_queries();
  }

  __device__ __forceinline__ void store(const Tile<Shape>& tile) {
    state.finish();
    const int row_of_tile = group * Shape::group_m + warp * 16;
    store_rows<mapped, head_dim, Shape::block_m>(shared + Bytes::output, row_of_tile, state.out, problem, tile.batch, tile.head,
                                                 tile.row + row_of_tile);
  }

  __device__ __forceinline__ void run(int index, int apart) {
    if (index >= problem.count) return;
#pragma unroll
    for (int i = 0; i < head_dim / 2; ++i) state.out[i] = 0;
    next.advance();
    wait_for_queries();
    wait_for_keys();
    begin_scores();
    while (true) {
      const Tile<Shape> tile(problem, index);
      attend(tile);
      index += apart;
      const bool more = index < problem.count;
      if (more) {
        wait_for_queries();
        wait_for_keys();
      }
      wait_for_values();
      hopper::pin(weights);
      hopper::pin(state.out);
      begin_output(tile.steps > 1);
      begin_scores();  // after the last tile, of whatever is there: nobody looks at them
      hopper::wait_for_products<1>();
      hopper::pin(state.out);
      release_values();
      store(tile);
      if (!more) break;
    }
    hopper::wait_for_products<0>();
    hopper::pin(scores);
    if (mapped && lane == 0) hopper::wait_for_stores();
  }
};

template <typename Element, int head_dim, typename Shape, bool mapped>
__global__ void __launch_bounds__(Shape::threads, 1) forward(const __grid_constant__ Problem<Element> problem) {
  using Bytes = Memory<Shape, head_dim>;
  extern __shared__ __align__(1024) unsigned char shared[];
  // The same for all lanes of a warp, as the compiler can see: it keeps what follows from it in uniform registers.
  const int warp = __shfl_sync(~0u, threadIdx.x / hopper::warp_lanes, 0), group = warp / hopper::group_warps;
  const bool loads = group == Shape::workers;
  const int team = loads ? warp % hopper::group_warps : group / Shape::groups, first = team * gridDim.x + blockIdx.x;
  const int apart = Shape::teams * gridDim.x;
  unsigned char* const of_team = shared + team * Bytes::team_bytes;
  const uint32_t base = hopper::shared_address(of_team);
  const uint32_t barriers = hopper::shared_address(shared) + Bytes::barriers + team * Bytes::team_barriers;
  if (loads) {
    Loader<Element, head_dim, Shape, mapped> loader{of_team, base, barriers, problem, hopper::give_up_first()};
    if (team < Shape::teams) loader.make_barriers();
    // The first team's data come first, so that it computes while the others' come.
    if (team == 0) loader.begin(first);
    __syncthreads();
    hopper::shrink_registers<Shape::loader_registers>();
    if (team > 0 && team < Shape::teams) loader.begin(first);
    if (team < Shape::teams) loader.run(first, apart);
    return;
  }
  if (mapped && threadIdx.x == 0) hopper::prefetch_map(problem.maps.out);
  __syncthreads();
  hopper::grow_registers<Shape::registers>();
  Group<Element, head_dim, Shape, mapped> worker{of_team, base, barriers, problem, group % Shape::groups, warp % hopper::group_warps,
                                                 static_cast<int>(threadIdx.x % hopper::warp_lanes)};
  worker.run(first, apart);
}

}  // namespace wgmma
#endif
