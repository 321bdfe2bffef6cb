// One block, one tile of queries: scores, online softmax and weighted values of a step of keys, until none is left.
#ifndef KERNEL_GATE_WMMA_FORWARD_CUH
#define KERNEL_GATE_WMMA_FORWARD_CUH

#include "output.cuh"
#include "shape.cuh"
#include "softmax.cuh"
#include "tile.cuh"

namespace wmma {

// Which part of the block's work this warp does.
template <typename Shape>
struct Place {
  int lane, row_group, key_group, thread;  // thread: of those that share a group of keys

  __device__ __forceinline__ explicit Place(int thread_of_block)
      : lane(thread_of_block % warp_lanes),
        row_group(thread_of_block / warp_lanes % Shape::row_groups),
        key_group(thread_of_block / Shape::group_threads),
        thread(thread_of_block % Shape::group_threads) {}

  // Warps with different keys need not wait for one another: each group loads its own keys.
  __device__ __forceinline__ void synchronize_group() const {
    if (Shape::group_threads == warp_lanes)
      __syncwarp();
    else if (Shape::key_groups == 1)
      __syncthreads();
    else
      synchronize(1 + key_group, Shape::group_threads);
  }
};

// The keys and values of one head, in a ring of stages.
template <typename Shape, int head_dim, bool aligned>
struct Stream {
  using Bytes = Memory<Shape, head_dim>;
  unsigned char* ring;
  Rows k, v;
  const Place<Shape>& place;

  __device__ __forceinline__ unsigned char* stage(int step) const {
    return ring + step % Shape::stages * Bytes::stage_bytes + place.key_group * Shape::warp_n * Bytes::row_bytes;
  }
  __device__ __forceinline__ void load_keys(int step) const { load(stage(step), k, step); }
  __device__ __forceinline__ void load_values(int step) const { load(stage(step) + Bytes::tile_bytes, v, step); }

  __device__ __forceinline__ void load(unsigned char* to, const Rows& from, int step) const {
    const int first = step * Shape::block_n + place.key_group * Shape::warp_n;
    copy_rows<head_dim, Shape::warp_n, Shape::group_threads, aligned>(to, from, first, place.thread);
  }
};

template <int tiles, int head_dim>
__device__ __forceinline__ void load_queries(uint32_t (&q)[tiles][head_dim / 16][4], uint32_t rows, uint32_t sign) {
#pragma unroll
  for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
    for (int i = 0; i < head_dim / 16; ++i) {
      ldmatrix(q[tile][i], (rows ^ i << 5) + tile * mma_rows * Layout<head_dim>::row_bytes);
#pragma unroll
      for (uint32_t& pair : q[tile][i]) pair ^= sign;
    }
}

template <typename Element, int tiles, int columns, int head_dim>
__device__ __forceinline__ void score(float (&scores)[tiles][columns / 8][4],
                                      const uint32_t (&q)[tiles][head_dim / 16][4], uint32_t keys) {
#pragma unroll
  for (int i = 0; i < head_dim / 16; ++i)
#pragma unroll
    for (int n = 0; n < columns / 16; ++n) {
      uint32_t k[4];
      ldmatrix(k, (keys ^ i << 5) + n * 16 * Layout<head_dim>::row_bytes);
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        mma(Element(), scores[tile][2 * n], q[tile][i], k[0], k[2]);
        mma(Element(), scores[tile][2 * n + 1], q[tile][i], k[1], k[3]);
      }
    }
}

// `first` is the number of the lane's first key, `row` that of its first query.
template <int tiles, int columns>
__device__ __forceinline__ void mask(float (&scores)[tiles][columns / 8][4], int first, int row, int seq_len, bool causal) {
#pragma unroll
  for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int last = causal ? min(row + tile * mma_rows + i / 2 * 8 + 1, seq_len) : seq_len;
#pragma unroll
      for (int n = 0; n < columns / 8; ++n)
        if (first + n * 8 + i % 2 >= last) scores[tile][n][i] = -INFINITY;
    }
}

// 16 keys at a time, so that one 16 keys' exponentials can run beside the products of those before. A pair of
// accumulators of scores, packed, is just what the left operand needs.
template <typename Element, int tiles, int columns, int head_dim>
__device__ __forceinline__ void accumulate(Attended<tiles, columns, head_dim>& attended,
                                           const float (&scores)[tiles][columns / 8][4], uint32_t values, float scale_log2) {
#pragma unroll
  for (int n = 0; n < columns / 16; ++n) {
    uint32_t weights[tiles][4];
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = scores[tile][2 * n + i / 2] + i % 2 * 2;
        weights[tile][i] = attended.template weigh<Element>(tile, i % 2, pair[0], pair[1], scale_log2);
      }
#pragma unroll
    for (int d = 0; d < head_dim / 16; ++d) {
      uint32_t v[4];
      ldmatrix_transposed(v, (values ^ d << 5) + n * 16 * Layout<head_dim>::row_bytes);
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        mma(Element(), attended.out[tile][2 * d], weights[tile], v[0], v[1]);
        mma(Element(), attended.out[tile][2 * d + 1], weights[tile], v[2], v[3]);
      }
    }
  }
}

template <typename Element, int head_dim, typename Shape, bool aligned>
__global__ void __launch_bounds__(Shape::threads, Shape::blocks_per_sm) forward(const __grid_constant__ Problem problem) {
  using Bytes = Memory<Shape, head_dim>;
  constexpr int tiles = Shape::warp_m / mma_rows;
  extern __shared__ __align__(1024) unsigned char shared[];

  // Neighbouring blocks share a head, and so its keys in L2; the last tile, the longest where causal, starts first.
  const unsigned head_of_all = blockIdx.x / problem.tiles;
  const int b = head_of_all / problem.heads, h = head_of_all % problem.heads;
  const int first = (problem.tiles - 1 - blockIdx.x % problem.tiles) * Shape::block_m;
  const int seq_len = problem.seq_len, last = problem.causal ? min(first + Shape::block_m, seq_len) : seq_len;
  const int steps = (last + Shape::block_n - 1) / Shape::block_n;
  const int unmasked = (problem.causal ? first + 1 : seq_len) / Shape::block_n;

  const Place<Shape> place(threadIdx.x);
  const Rows q_rows{problem.q.at(b, h), problem.q.row, seq_len};
  const Stream<Shape, head_dim, aligned> stream{shared + Bytes::query_bytes,
                                                {problem.k.at(b, h), problem.k.row, last},
                                                {problem.v.at(b, h), problem.v.row, last},
                                                place};

  // The first values are a group of their own, so that the first scores need not wait for them.
  copy_rows<head_dim, Shape::block_m, Shape::threads, aligned>(shared, q_rows, first, threadIdx.x);
  stream.load_keys(0);
  commit_copies();
  stream.load_values(0);
  commit_copies();
#pragma unroll
  for (int step = 1; step < Shape::stages; ++step) {
    if (step < steps) {
      stream.load_keys(step);
      stream.load_values(step);
    }
    commit_copies();
  }
  wait_for_copies<Shape::stages>();
  __syncthreads();

  const uint32_t operand = Layout<head_dim>::operand(place.lane);
  uint32_t q[tiles][head_dim / 16][4];
  unsigned char* queries = shared + place.row_group * Shape::warp_m * Bytes::row_bytes;
  load_queries<tiles, head_dim>(q, shared_address(queries) + operand, problem.sign);

  Attended<tiles, Shape::warp_n, head_dim> attended;
  for (int step = 0; step < steps; ++step) {
    const uint32_t keys = shared_address(stream.stage(step)) + operand;
    float scores[tiles][Shape::warp_n / 8][4] = {};
    score<Element, tiles, Shape::warp_n, head_dim>(scores, q, keys);
    if (step == 0) {
      wait_for_copies<Shape::stages - 1>();
      place.synchronize_group();
    }
    if (step >= unmasked)
      mask<tiles, Shape::warp_n>(scores, step * Shape::block_n + place.key_group * Shape::warp_n + place.lane % 4 * 2,
                                 first + place.row_group * Shape::warp_m + place.lane / 4, seq_len, problem.causal);
    attended.refer_to(scores, problem.scale_log2);
    accumulate<Element>(attended, scores, keys + Bytes::tile_bytes, problem.scale_log2);
    if (step + 1 == steps) break;
    // Everyone is done with this stage, and has the next one.
    wait_for_copies<Shape::stages - 2>();
    place.synchronize_group();
    if (step + Shape::stages < steps) {
      stream.load_keys(step + Shape::stages);
      stream.load_values(step + Shape::stages);
    }
    commit_copies();
  }

  const OutRows out{problem.out.at(b, h), problem.out.row, seq_len};
  const int own = place.row_group * Shape::warp_m;
  if (Shape::key_groups == 1) {
    store_rows<Element, aligned>(queries, out, first + own, place.lane, attended);
    return;
  }
  __syncthreads();
  Parts<Shape, head_dim> parts(shared);
  parts.put(place.key_group * Shape::block_m + own, place.lane, attended);
  __syncthreads();
  parts.template store<Element, aligned>(out, first, threadIdx.x);
}

}  // namespace wmma
#endif
