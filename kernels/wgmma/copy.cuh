// Tiles between device and shared memory: by the copy engine, or, for tensors that it cannot read, by the lanes of a warp.
#ifndef KERNEL_GATE_WGMMA_COPY_CUH
#define KERNEL_GATE_WGMMA_COPY_CUH

#include "../element_pack.cuh"
#include "shape.cuh"

namespace wgmma {

// Where 16 bytes lie in a tile whose rows are swizzled as CU_TENSOR_MAP_SWIZZLE_128B does: `chunk` counts them within the row.
template <int rows>
__device__ __forceinline__ uint32_t place(unsigned row, unsigned chunk) {
  return chunk / 8 * (rows * 128) + row * 128 + ((chunk % 8 ^ row % 8) << 4);
}

// `rows` rows of one head from row `first` on to `to`, in a tile of `tile_rows` rows, whose barrier learns how many bytes to expect. By one
// lane.
template <int head_dim, int rows, int tile_rows>
__device__ __forceinline__ void load_mapped(uint32_t to, uint32_t barrier, const CUtensorMap& map, int batch, int head, int first,
                                            uint64_t policy) {
  hopper::arrive_and_expect(barrier, rows * head_dim * 2);
#pragma unroll
  for (int block = 0; block < head_dim / 64; ++block)
    hopper::load_box(to + block * tile_rows * 128, map, barrier, block * 64, first, head, batch, policy);
}

// The same by all lanes of a warp. Rows past the last become zeros; `sign` flips signs.
template <int head_dim, int rows, int tile_rows, typename Element>
__device__ __forceinline__ void load_gathered(unsigned char* to, uint32_t barrier, const ladder::View<const Element>& view,
                                              int batch, int head, int first, int seq_len, uint32_t sign) {
  const Element* from = view.data + batch * view.batch_stride + head * view.head_stride;
  for (int i = threadIdx.x % 32; i < rows * head_dim / 8; i += 32) {
    const int at = i / (head_dim / 8), chunk = i % (head_dim / 8);
    uint4 value = make_uint4(0, 0, 0, 0);
    if (first + at < seq_len) {
      const auto pack = ladder::load<8>(from + (first + at) * view.row_stride + chunk * 8, view.aligned);
      value = *reinterpret_cast<const uint4*>(&pack);
    }
    *reinterpret_cast<uint4*>(to + place<tile_rows>(at, chunk)) =
        make_uint4(value.x ^ sign, value.y ^ sign, value.z ^ sign, value.w ^ sign);
  }
  hopper::fence_for_engine();
  __syncwarp();
  if (threadIdx.x % 32 == 0) hopper::arrive(barrier);
}

// What the warp of a team does that loads: it runs ahead of the warpgroups by as many steps as there are stages.
template <typename Element, int head_dim, typename Shape, bool mapped>
struct Loader {
  using Bytes = Memory<Shape, head_dim>;
  unsigned char* shared;  // of the team
  uint32_t base, barriers;
  const Problem<Element>& problem;
  uint64_t policy;  // of the second cache
  Turn<Bytes::tiles_of_queries> queries;
  Turn<Shape::stages> stage;

  template <int rows, int tile_rows>
  __device__ __forceinline__ void load(int to, uint32_t barrier, uint32_t round, const CUtensorMap& map,
                                       const ladder::View<const Element>& view, const Tile<Shape>& from, int row,
                                       uint32_t sign = 0) const {
    hopper::wait(barrier + 8, round ^ 1);
    if constexpr (mapped)
      load_mapped<head_dim, rows, tile_rows>(base + to, barrier, map, from.batch, from.head, row, policy);
    else
      load_gathered<head_dim, rows, tile_rows>(shared + to, barrier, view, from.batch, from.head, row, problem.seq_len, sign);
  }

  // Each warpgroup's for itself: the first can begin while those of the others come.
  __device__ __forceinline__ void load_queries(const Tile<Shape>& tile, int group) {
    const int first_row = group * Shape::group_m;
    load<Shape::group_m, Shape::block_m>(Bytes::queries + queries.index * Bytes::query_bytes + first_row * Bytes::block_row,
                                         barriers + Bytes::query_barriers + (queries.index * Shape::groups + group) * Bytes::pair,
                                         queries.round, problem.maps.q, problem.q, tile, tile.row + first_row, problem.sign);
  }

  // In the order in which they are needed.
  __device__ __forceinline__ void load_first(const Tile<Shape>& tile) {
    load_queries(tile, 0);
    load_keys(tile, 0);
    for (int group = 1; group < Shape::groups; ++group) load_queries(tile, group);
    queries.advance();
    load_values(tile, 0);
  }

  __device__ __forceinline__ void load_step(const Tile<Shape>& tile, int step) {
    load_keys(tile, step);
    load_values(tile, step);
  }

  __device__ __forceinline__ void load_keys(const Tile<Shape>& tile, int step) {
    const int to = stage.index * Bytes::tile_bytes, pair = stage.index * Bytes::pair, row = step * Shape::block_n;
    load<Shape::block_n, Shape::block_n>(Bytes::keys + to, barriers + Bytes::key_barriers + pair, stage.round, problem.maps.k,
                                         problem.k, tile, row);
  }

  __device__ __forceinline__ void load_values(const Tile<Shape>& tile, int step) {
    const int to = stage.index * Bytes::tile_bytes, pair = stage.index * Bytes::pair, row = step * Shape::block_n;
    load<Shape::block_n, Shape::block_n>(Bytes::values + to, barriers + Bytes::value_barriers + pair, stage.round, problem.maps.v,
                                         problem.v, tile, row);
    stage.advance();
  }

  __device__ __forceinline__ bool takes_part() const { return !mapped || threadIdx.x % hopper::warp_lanes == 0; }

  // One lane of each of the warpgroups' warps will say that it is done with what a barrier stands for.
  __device__ __forceinline__ void make_barriers() const {
    if (threadIdx.x % hopper::warp_lanes == 0) {
      for (int at = 0; at < Bytes::team_barriers; at += Bytes::pair) {
        hopper::init_barrier(barriers + at, 1);
        hopper::init_barrier(barriers + at + 8, (at < Bytes::key_barriers ? 1 : Shape::groups) * hopper::group_warps);
      }
      hopper::publish_barriers();
    }
    __syncwarp();
  }

  // As many steps of the first tile as there are stages.
  __device__ __forceinline__ void begin(int first) {
    if (!takes_part() || first >= problem.count) return;
    const Tile<Shape> tile(problem, first);
    load_first(tile);
    for (int step = 1; step < min(Shape::stages, tile.steps); ++step) load_step(tile, step);
  }

  // All others.
  __device__ __forceinline__ void run(int first, int apart) {
    if (!takes_part()) return;
    for (int index = first; index < problem.count; index += apart) {
      const Tile<Shape> tile(problem, index);
      if (index != first) load_first(tile);
      for (int step = index == first ? Shape::stages : 1; step < tile.steps; ++step) load_step(tile, step);
    }
  }
};

// The 16 rows of a warp, from its accumulators to its own rows of the tile at `shared`, and on to the output. Returns before the engine
// has read them.
template <bool mapped, int head_dim, int rows, typename Element>
__device__ __forceinline__ void store_rows(unsigned char* shared, int row_of_tile, const float (&out)[head_dim / 2],
                                           const Problem<Element>& problem, int batch, int head, int row) {
  unsigned lane = threadIdx.x % 32;
  hopper::hide_origin(lane);
  const uint32_t to = hopper::shared_address(shared);
  if (mapped && lane == 0) hopper::wait_for_stores();
  __syncwarp();
#pragma unroll
  for (int i = 0; i < head_dim / 16; ++i) {  // two chunks of 8 columns by two halves of 8 rows
    uint32_t pairs[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) pairs[j] = hopper::pack(Element(), out[8 * i + 2 * j], out[8 * i + 2 * j + 1]);
    hopper::store_matrices(to + place<rows>(row_of_tile + lane % 16, 2 * i + lane / 16), pairs[0], pairs[1], pairs[2], pairs[3]);
  }
  if constexpr (mapped) {
    hopper::fence_for_engine();
    __syncwarp();
    if (lane == 0) {
#pragma unroll
      for (int block = 0; block < head_dim / 64; ++block)
        hopper::store_box(problem.maps.out, to + block * rows * 128 + row_of_tile * 128, block * 64, row, head, batch);
      hopper::commit_stores();
    }
  } else {
    __syncwarp();
    Element* first = problem.out.data + batch * problem.out.batch_stride + head * problem.out.head_stride;
    for (int i = lane; i < 16 * head_dim / 8; i += 32) {
      const int at = i / (head_dim / 8), chunk = i % (head_dim / 8);
      if (row + at >= problem.seq_len) continue;
      const auto* from = reinterpret_cast<const ladder::Pack<Element, 8>*>(shared + place<rows>(row_of_tile + at, chunk));
      ladder::store(first + (row + at) * problem.out.row_stride + chunk * 8, *from, problem.out.aligned);
    }
  }
}

}  // namespace wgmma
#endif
