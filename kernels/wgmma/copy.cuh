// Tiles between device and shared memory: by the copy engine, or, for tensors that it cannot read, by the lanes of a warp.
#ifndef KERNEL_GATE_WGMMA_COPY_CUH
#define KERNEL_GATE_WGMMA_COPY_CUH

#include "shape.cuh"

namespace wgmma {

// Where 16 bytes lie in a tile whose rows are swizzled as CU_TENSOR_MAP_SWIZZLE_128B does: `chunk` counts them within the row.
template <int rows>
__device__ __forceinline__ uint32_t place(int row, int chunk) {
  return chunk / 8 * (rows * 128) + row * 128 + ((chunk % 8 ^ row % 8) << 4);
}

// `rows` rows of one head from row `first` on to `to`, whose barrier learns how many bytes to expect. By one lane.
template <int head_dim, int rows>
__device__ __forceinline__ void load_mapped(uint32_t to, uint32_t barrier, const CUtensorMap& map, int batch, int head, int first) {
  hopper::arrive_and_expect(barrier, rows * head_dim * 2);
#pragma unroll
  for (int block = 0; block < head_dim / 64; ++block)
    hopper::load_box(to + block * rows * 128, map, barrier, block * 64, first, head, batch);
}

// The same by all lanes of a warp. Rows past the last become zeros; `sign` flips signs.
template <int head_dim, int rows, typename Element>
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
    *reinterpret_cast<uint4*>(to + place<rows>(at, chunk)) =
        make_uint4(value.x ^ sign, value.y ^ sign, value.z ^ sign, value.w ^ sign);
  }
  hopper::fence_for_engine();
  __syncwarp();
  if (threadIdx.x % 32 == 0) hopper::arrive(barrier);
}

// Where the loads are: some steps ahead of the warpgroups, and so perhaps in a later tile. Nobody loads for the others; the last warp
// that leaves a part of shared memory has it filled anew.
template <typename Element, int head_dim, typename Shape, bool mapped>
struct Loads {
  using Bytes = Memory<Shape, head_dim>;
  unsigned char* shared;
  uint32_t base;
  const Problem<Element>& problem;
  int index;  // of the tile
  Tile<Shape> tile;
  int step = 0;

  __device__ __forceinline__ Loads(unsigned char* shared, uint32_t base, const Problem<Element>& problem)
      : shared(shared), base(base), problem(problem), index(blockIdx.x), tile(problem, index) {}

  __device__ __forceinline__ bool done() const { return index >= problem.count; }

  __device__ __forceinline__ void advance() {
    if (++step < tile.steps) return;
    step = 0;
    index += gridDim.x;
    if (!done()) tile = Tile<Shape>(problem, index);
  }

  template <int rows>
  __device__ __forceinline__ void load(int to, int barrier, const CUtensorMap& map, const ladder::View<const Element>& view,
                                       const Tile<Shape>& from, int row, uint32_t sign = 0) const {
    if constexpr (mapped)
      load_mapped<head_dim, rows>(base + to, base + barrier, map, from.batch, from.head, row);
    else
      load_gathered<head_dim, rows>(shared + to, base + barrier, view, from.batch, from.head, row, problem.seq_len, sign);
  }

  // This step's keys and values.
  __device__ __forceinline__ void load_step(int stage) const {
    const int row = step * Shape::block_n;
    load<Shape::block_n>(Bytes::keys + stage * Bytes::tile_bytes, Bytes::key_barriers + 8 * stage, problem.maps.k, problem.k, tile, row);
    load<Shape::block_n>(Bytes::values + stage * Bytes::tile_bytes, Bytes::value_barriers + 8 * stage, problem.maps.v, problem.v, tile,
                         row);
  }

  __device__ __forceinline__ void load_queries(int part, int of) const {
    if (of >= problem.count) return;
    const Tile<Shape> from(problem, of);
    load<Shape::block_m>(Bytes::queries + part * Bytes::query_bytes, Bytes::query_barriers + 8 * part, problem.maps.q, problem.q, from,
                         from.row, problem.sign);
  }

  // Whether this warp is the last to be done with what a counter stands for.
  __device__ __forceinline__ bool is_last(int counter) const {
    bool last = false;
    if (threadIdx.x % 32 == 0) last = hopper::count(base + counter, Shape::warps - 1) == Shape::warps - 1;
    return mapped ? last : __any_sync(~0u, last);
  }

  __device__ __forceinline__ void replace_step(int stage) {
    if (done()) return;
    if (is_last(Bytes::stage_counters + 4 * stage)) load_step(stage);
    advance();
  }

  __device__ __forceinline__ void replace_queries(int part, int of) const {
    if (of < problem.count && is_last(Bytes::query_counters + 4 * part)) load_queries(part, of);
  }

  // By the first warp, before anybody waits.
  __device__ __forceinline__ void begin() {
    if (threadIdx.x == 0) {
      for (int i = 0; i < 2 + 2 * Shape::stages; ++i) hopper::init_barrier(base + Bytes::barriers + 8 * i, 1);
      for (int i = 0; i < 2 + Shape::stages; ++i) *reinterpret_cast<int*>(shared + Bytes::counters + 4 * i) = 0;
      hopper::publish_barriers();
    }
    __syncwarp();
    if (!mapped || threadIdx.x == 0) load_queries(0, index);
    for (int stage = 0; stage < Shape::stages && !done(); ++stage, advance())
      if (!mapped || threadIdx.x == 0) load_step(stage);
    if (!mapped || threadIdx.x == 0) load_queries(1, blockIdx.x + gridDim.x);
  }

  // What begin() did to this object, for the other warps.
  __device__ __forceinline__ void skip() {
    for (int stage = 0; stage < Shape::stages && !done(); ++stage) advance();
  }
};

// The 16 rows of a warp, from its accumulators to its own rows of the tile at `shared`, and on to the output. Returns before the engine
// has read them.
template <bool mapped, int head_dim, int rows, typename Element>
__device__ __forceinline__ void store_rows(unsigned char* shared, int row_of_tile, const float (&out)[head_dim / 2],
                                           const Problem<Element>& problem, int batch, int head, int row) {
  const int lane = threadIdx.x % 32;
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
