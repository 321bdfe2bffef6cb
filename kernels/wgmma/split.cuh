// The pass where tiles are too few to fill the GPU: the warpgroups of a cluster of blocks share 64 queries and divide the keys. In
// the end each of them sends its part of the output, by columns, to the warpgroup that sums those columns. The threads load for
// themselves: before the copy engine has read what describes a tensor, they have the data.
#ifndef KERNEL_GATE_WGMMA_SPLIT_CUH
#define KERNEL_GATE_WGMMA_SPLIT_CUH

#include "copy.cuh"
#include "softmax.cuh"

namespace wgmma {

template <int blocks_, int groups_, int stages_>
struct Split {
  static constexpr int blocks = blocks_, groups = groups_, stages = stages_;  // blocks: of a cluster
  static constexpr int block_m = 64, block_n = 64, parts = blocks * groups;
  static constexpr int threads = groups * hopper::group_threads;
};

// The queries; keys and values of each warpgroup's stages; for each warpgroup, 16 bytes from each thread of each part for every 8
// columns that it sums; of each part, every row's reference and total; a barrier that counts what of these comes from other blocks.
template <typename Split, int head_dim>
struct SplitMemory {
  static constexpr int block_row = 128, tile_bytes = 64 * head_dim * 2;
  static constexpr int chunks = head_dim / 8 / Split::parts;  // of 8 columns that a warpgroup sums
  static_assert(chunks * 8 * Split::parts == head_dim, "parts divide the columns");
  static constexpr int queries = 0, keys = tile_bytes, values = keys + Split::groups * Split::stages * tile_bytes;
  static constexpr int chunk_bytes = 16 * hopper::group_threads, inbox_bytes = Split::parts * chunks * chunk_bytes;
  static constexpr int inboxes = values + Split::groups * Split::stages * tile_bytes;
  static constexpr int statistics = inboxes + Split::groups * inbox_bytes, statistics_bytes = 64 * 8;
  static constexpr int barrier = statistics + Split::parts * statistics_bytes, bytes = barrier + 8;
  // What a block receives from the others.
  static constexpr int received = (Split::blocks - 1) * Split::groups * (Split::groups * chunks * chunk_bytes + statistics_bytes);
};

template <typename Element, int head_dim, typename Split>
struct Part {
  using Bytes = SplitMemory<Split, head_dim>;
  using State = Attended<Element, head_dim>;

  unsigned char* shared;
  uint32_t base;
  const Problem<Element>& problem;
  Tile<Split> tile;
  int rank, group, warp, lane;  // rank: of the block in the cluster; warp: of the warpgroup

  __device__ __forceinline__ int part() const { return rank * Split::groups + group; }
  __device__ __forceinline__ int thread() const { return warp * hopper::warp_lanes + lane; }
  __device__ __forceinline__ int slot(int turn) const { return group * Split::stages + turn % Split::stages; }
  __device__ __forceinline__ uint32_t keys(int turn) const { return base + Bytes::keys + slot(turn) * Bytes::tile_bytes; }
  __device__ __forceinline__ uint32_t values(int turn) const { return base + Bytes::values + slot(turn) * Bytes::tile_bytes; }
  __device__ __forceinline__ int step(int turn) const { return part() + turn * Split::parts; }

  // Starts to copy `rows` rows from row `first` on of the tile that begins at row `tile_row` of this head; those past the last become 0.
  template <int rows>
  __device__ __forceinline__ void load(uint32_t to, const ladder::View<const Element>& view, int tile_row, int first) const {
    constexpr int chunks = head_dim / 8;
    const Element* from = view.data + tile.batch * view.batch_stride + tile.head * view.head_stride;
#pragma unroll
    for (int i = 0; i < rows * chunks / hopper::group_threads; ++i) {
      const int at = i * hopper::group_threads + thread(), row = first + at / chunks, chunk = at % chunks;
      const bool exists = tile_row + row < problem.seq_len;
      hopper::copy_16(to + place<64>(row, chunk), from + (exists ? (tile_row + row) * view.row_stride + chunk * 8 : 0), exists);
    }
  }
  __device__ __forceinline__ void load_keys(int turn) const {
    if (step(turn) < tile.steps) load<64>(keys(turn), problem.k, step(turn) * Split::block_n, 0);
    hopper::commit_copies();
  }
  __device__ __forceinline__ void load_values(int turn) const {
    if (step(turn) < tile.steps) load<64>(values(turn), problem.v, step(turn) * Split::block_n, 0);
    hopper::commit_copies();
  }

  __device__ __forceinline__ void begin() const {
    load<64 / Split::groups>(base + Bytes::queries, problem.q, tile.row, group * 64 / Split::groups);
    for (int turn = 0; turn < Split::stages; ++turn) {
      load_keys(turn);
      load_values(turn);
    }
    if (Split::blocks == 1) return;
    if (threadIdx.x == 0) {
      hopper::init_barrier(base + Bytes::barrier, 1);
      hopper::publish_barriers();
      hopper::arrive_and_expect(base + Bytes::barrier, Bytes::received);
    }
    // From here to the first store to another block, all blocks have begun.
    hopper::arrive_at_cluster();
  }

  // Until the oldest copies are in, of all threads that take part.
  __device__ __forceinline__ void receive(bool all_groups) const {
    hopper::wait_for_copies<2 * Split::stages - 1>();
    hopper::fence_for_engine();
    if (all_groups)
      __syncthreads();
    else
      hopper::synchronize(1 + group, hopper::group_threads);
  }

  __device__ __forceinline__ void weigh(State& state, float (&scores)[32], uint32_t (&weights)[16], int turn) const {
    const int unmasked = (problem.causal ? tile.row + 1 : problem.seq_len) / Split::block_n;
    if (step(turn) >= unmasked)
      mask(scores, step(turn) * Split::block_n + lane % 4 * 2, tile.row + warp * 16 + lane / 4, problem.seq_len, problem.causal);
    if (turn == 0) {
      state.weigh_first(scores, weights, problem.scale_log2);
      return;
    }
    float sums[2];
    state.template move_references<true>(scores, problem.scale_log2);
    state.weigh_to(scores, weights, sums, problem.scale_log2);
    state.total[0] += sums[0];
    state.total[1] += sums[1];
  }

  __device__ __forceinline__ void attend(State& state) const {
    for (int turn = 0; turn == 0 || step(turn) < tile.steps; ++turn) {
      receive(turn == 0);
      if (step(turn) >= tile.steps) break;
      const bool more = step(turn + Split::stages) < tile.steps;
      float scores[32];
      uint32_t weights[16];
      const hopper::Operand left(base + Bytes::queries), right(keys(turn)), value(values(turn), 64 * Bytes::block_row);
      const auto query = [&](int i) { return left.forward(i / 4 * 64 * Bytes::block_row + i % 4 * 32); };
      const auto key = [&](int i) { return right.forward(i / 4 * 64 * Bytes::block_row + i % 4 * 32); };
      hopper::begin_products();
      hopper::set_product(Element(), scores, query(0), key(0));
#pragma unroll
      for (int i = 1; i < head_dim / 16; ++i) hopper::add_product(Element(), scores, query(i), key(i));
      hopper::commit_products();
      hopper::wait_for_products<0>();
      hopper::pin(scores);
      if (more) hopper::synchronize(1 + group, hopper::group_threads);
      load_keys(turn + Split::stages);
      weigh(state, scores, weights, turn);
      receive(false);
      hopper::pin(weights);
      hopper::pin(state.out);
      hopper::begin_products();
#pragma unroll
      for (int i = 0; i < 4; ++i)
        hopper::weigh_product(Element(), state.out, weights + 4 * i, value.forward(i * 16 * Bytes::block_row), true);
      hopper::commit_products();
      hopper::wait_for_products<0>();
      hopper::pin(state.out);
      if (more) hopper::synchronize(1 + group, hopper::group_threads);
      load_values(turn + Split::stages);
    }
  }

  // Four numbers, or two, to block `to`; bytes that come from other blocks are counted by its barrier.
  template <typename... Numbers>
  __device__ __forceinline__ void send_numbers(int to, int at, Numbers... numbers) const {
    if (to == rank)
      hopper::store_here(base + at, numbers...);
    else
      hopper::store_there(hopper::address_in(to, base + at), hopper::address_in(to, base + Bytes::barrier), numbers...);
  }

  // To each part its columns, and to each block the rows' references and totals.
  __device__ __forceinline__ void send(const State& state) const {
#pragma unroll
    for (int to = 0; to < Split::parts; ++to)
#pragma unroll
      for (int i = 0; i < Bytes::chunks; ++i) {
        const float* out = state.out + 4 * (to * Bytes::chunks + i);
        const int at = Bytes::inboxes + to % Split::groups * Bytes::inbox_bytes + (part() * Bytes::chunks + i) * Bytes::chunk_bytes;
        send_numbers(to / Split::groups, at + 16 * thread(), out[0], out[1], out[2], out[3]);
      }
    const float total[2] = {ladder::group_sum<4>(state.total[0]), ladder::group_sum<4>(state.total[1])};
    if (lane % 4 == 0)
#pragma unroll
      for (int to = 0; to < Split::blocks; ++to)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = warp * 16 + half * 8 + lane / 4;
          send_numbers(to, Bytes::statistics + part() * Bytes::statistics_bytes + row * 8, state.reference[half], total[half]);
        }
  }

  // Until all parts have sent theirs. No block ends before: none stores to one that is gone.
  __device__ __forceinline__ void wait() const {
    __syncthreads();
    if (Split::blocks > 1) hopper::wait_for_other_blocks(base + Bytes::barrier, 0);
  }

  // The columns of this part over all parts. A part that saw no key has the lowest reference, and weight 0.
  __device__ __forceinline__ void sum_and_store() const {
    const float2* statistics = reinterpret_cast<const float2*>(shared + Bytes::statistics);
    float factor[2][Split::parts];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp * 16 + half * 8 + lane / 4;
      float highest = -FLT_MAX, total = 0;
#pragma unroll
      for (int from = 0; from < Split::parts; ++from) highest = fmaxf(highest, statistics[from * 64 + row].x);
#pragma unroll
      for (int from = 0; from < Split::parts; ++from) {
        factor[half][from] = ladder::exp2_approx(statistics[from * 64 + row].x - highest);
        total += factor[half][from] * statistics[from * 64 + row].y;
      }
      const float inverse = __fdividef(1.0f, total);
#pragma unroll
      for (int from = 0; from < Split::parts; ++from) factor[half][from] *= inverse;
    }
    const unsigned char* inbox = shared + Bytes::inboxes + group * Bytes::inbox_bytes + 16 * thread();
    Element* first = problem.out.data + tile.batch * problem.out.batch_stride + tile.head * problem.out.head_stride;
#pragma unroll
    for (int i = 0; i < Bytes::chunks; ++i) {
      float sums[4] = {};
#pragma unroll
      for (int from = 0; from < Split::parts; ++from) {
        const float4 out = *reinterpret_cast<const float4*>(inbox + (from * Bytes::chunks + i) * Bytes::chunk_bytes);
        sums[0] += factor[0][from] * out.x;
        sums[1] += factor[0][from] * out.y;
        sums[2] += factor[1][from] * out.z;
        sums[3] += factor[1][from] * out.w;
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = tile.row + warp * 16 + half * 8 + lane / 4, column = (part() * Bytes::chunks + i) * 8 + lane % 4 * 2;
        const uint32_t pair = hopper::pack(Element(), sums[2 * half], sums[2 * half + 1]);
        if (row < problem.seq_len) *reinterpret_cast<uint32_t*>(first + row * problem.out.row_stride + column) = pair;
      }
    }
  }
};

template <typename Element, int head_dim, typename Split>
__global__ void __launch_bounds__(Split::threads, 1) forward_split(const __grid_constant__ Problem<Element> problem) {
  extern __shared__ __align__(1024) unsigned char shared[];
  const int warp = __shfl_sync(~0u, threadIdx.x / hopper::warp_lanes, 0), lane = threadIdx.x % hopper::warp_lanes;
  const int rank = Split::blocks == 1 ? 0 : hopper::rank_in_cluster();
  const Part<Element, head_dim, Split> part{shared, hopper::shared_address(shared), problem,
                                            Tile<Split>(problem, blockIdx.x / Split::blocks), rank,
                                            warp / hopper::group_warps, warp % hopper::group_warps, lane};
  part.begin();
  Attended<Element, head_dim> state = {{}, {-FLT_MAX, -FLT_MAX}, {}};
  hopper::pin(state.out);
  part.attend(state);
  if (Split::blocks > 1) hopper::wait_for_cluster();
  part.send(state);
  part.wait();
  part.sum_and_store();
}

}  // namespace wgmma
#endif
