// The scalar rung: one fused pass with an online softmax, in float32 on the ordinary cores.
//
// The third version of the loop that everybody writes first. One thread a query re-reads every key from memory; tiles
// in shared memory read each key once per 64 queries, but still load two operands per multiply-add. Here a thread
// keeps THREAD_ROWS x 4 scores in registers, so that 12 loaded floats feed 32 multiply-adds.
//
// A block owns BLOCK_M queries; 16 neighbouring threads share THREAD_ROWS of them and own 4 of 64 keys each, and then
// head_dim / 16 columns of the output each. Shared memory holds queries and keys by column and weights by key, so
// that what a thread needs next to each other is one load of 16 bytes; K and V take turns in one buffer.
//
// Bottleneck: multiply-add issue, and behind it the loads from shared memory, at half its rate.
//
// Floor for B,H,S,D = 32,8,512,64 on an H200 (132 multiprocessors at 1.83 GHz):
//   products  4 B H S^2 D = 17.2 GFLOP, at 132 x 128 lanes x 2 x 1.83 GHz = 61.8 TFLOP/s = 278 us
//   loads     4 wavefronts per 32 multiply-adds of a warp, 4 warps at a time             = 139 us, beside
//   softmax   B H S^2 = 67.1 M: exp2 at 16 a clock, and 4 instructions at 128 a clock    =  26 us
//   bytes     4 B H S D x 2 = 67.1 MB, at 4.8 TB/s                                       =  14 us
//
// Run: kernel-gate run --impl custom_v3 --shape 32,8,512,64
//      kernel-gate run --impl custom_v3 --config "BLOCK_M=32,THREAD_ROWS=4"
//
// Tried and failed, by counting wavefronts of shared memory:
//   weights without the swizzle     rows of 64 floats put a warp's stores in one bank group: 4 times the wavefronts
//   columns strided by 16 lanes     no conflict without a swizzle, but 4 loads of a key where now there is 1
#include "softmax.cuh"
#include "tensor_view.cuh"

#ifndef BLOCK_M
#define BLOCK_M 64
#endif
#ifndef THREAD_ROWS
#define THREAD_ROWS 8
#endif

namespace {

using ladder::Pack;
using ladder::Problem;

constexpr int lanes = 16, thread_keys = 4, block_keys = lanes * thread_keys;
constexpr int row_packs = THREAD_ROWS / 4, threads = BLOCK_M / THREAD_ROWS * lanes;
static_assert(THREAD_ROWS % 4 == 0 && BLOCK_M % THREAD_ROWS == 0 && BLOCK_M >= 32, "rows are loaded four at a time");

template <int head_dim>
struct Shared {
  float q[head_dim][BLOCK_M];
  union {
    float k[head_dim][block_keys];
    float v[block_keys][head_dim];
  };
  float weights[block_keys][BLOCK_M];  // swizzled

  // The packs of four rows change places from one thread's keys to the next, so that a warp's stores fall on all banks.
  __device__ float* weight(int key, int row) { return &weights[key][row ^ (key / thread_keys % 8 * 4)]; }
};

template <int head_dim>
struct Thread {
  static constexpr int columns = head_dim / lanes, width = columns < 4 ? columns : 4;

  // Of this thread among the 16 that share its rows, and of the first of these rows in the block.
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes * THREAD_ROWS;
  float scores[THREAD_ROWS][thread_keys], acc[THREAD_ROWS][columns] = {};
  float maximum[THREAD_ROWS], total[THREAD_ROWS] = {};

  // The output's column, for the c-th of this thread's accumulators; runs of `width` stay together.
  __device__ int column(int c) const { return c / width * width * lanes + lane * width + c % width; }
};

// One tile from global memory, by column: neighbouring threads take neighbouring rows, so that stores fall on
// different banks. Rows from `valid` on become zero.
template <int rows, int head_dim, typename T>
__device__ void load_columns(float (&tile)[head_dim][rows], const T* from, int64_t row_stride, int valid,
                             bool aligned, float factor) {
  for (int i = threadIdx.x; i < rows * head_dim / 8; i += threads) {
    const int row = i % rows, column = i / rows * 8;
    Pack<T, 8> pack = {};
    if (row < valid) pack = ladder::load<8>(from + row * row_stride + column, aligned);
#pragma unroll
    for (int c = 0; c < 8; ++c) tile[column + c][row] = ladder::to_float(pack.x[c]) * factor;
  }
}

template <int rows, int head_dim, typename T>
__device__ void load_rows(float (&tile)[rows][head_dim], const T* from, int64_t row_stride, int valid, bool aligned) {
  for (int i = threadIdx.x; i < rows * head_dim / 8; i += threads) {
    const int row = i / (head_dim / 8), column = i % (head_dim / 8) * 8;
    Pack<T, 8> pack = {};
    if (row < valid) pack = ladder::load<8>(from + row * row_stride + column, aligned);
    Pack<float, 8> wide;
#pragma unroll
    for (int c = 0; c < 8; ++c) wide.x[c] = ladder::to_float(pack.x[c]);
    ladder::store(&tile[row][column], wide, true);
  }
}

template <int count>
__device__ void load_packs(float (&to)[count * 4], const float* from) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const Pack<float, 4> pack = ladder::load<4>(from + 4 * i, true);
#pragma unroll
    for (int j = 0; j < 4; ++j) to[4 * i + j] = pack.x[j];
  }
}

template <int head_dim>
__device__ void score(Thread<head_dim>& thread, const Shared<head_dim>& shared) {
#pragma unroll
  for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < thread_keys; ++c) thread.scores[r][c] = 0.0f;
#pragma unroll 8
  for (int d = 0; d < head_dim; ++d) {
    float q[THREAD_ROWS], k[thread_keys];
    load_packs<row_packs>(q, &shared.q[d][thread.row]);
    load_packs<1>(k, &shared.k[d][thread.lane * thread_keys]);
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
      for (int c = 0; c < thread_keys; ++c) thread.scores[r][c] += q[r] * k[c];
  }
}

// Row r of the block sees the tile's keys up to `last + r`, and those before `count` alone.
template <int head_dim>
__device__ void mask(Thread<head_dim>& thread, int last, int count) {
#pragma unroll
  for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
    for (int c = 0; c < thread_keys; ++c) {
      const int key = thread.lane * thread_keys + c;
      if (key >= count || key > last + thread.row + r) thread.scores[r][c] = -INFINITY;
    }
}

// Scores, in units of log2, become weights. `total` is this thread's share of the row's sum.
template <int head_dim>
__device__ void online_softmax(Thread<head_dim>& thread) {
#pragma unroll
  for (int r = 0; r < THREAD_ROWS; ++r) {
    auto& x = thread.scores[r];
    const float seen = ladder::group_max<lanes>(fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3])));
    const float higher = fmaxf(thread.maximum[r], seen);
    const float rescale = ladder::exp2_approx(thread.maximum[r] - higher);
    thread.maximum[r] = higher;
#pragma unroll
    for (int c = 0; c < thread_keys; ++c) x[c] = ladder::exp2_approx(x[c] - higher);
    thread.total[r] = thread.total[r] * rescale + ((x[0] + x[1]) + (x[2] + x[3]));
#pragma unroll
    for (int c = 0; c < thread.columns; ++c) thread.acc[r][c] *= rescale;
  }
}

template <int head_dim>
__device__ void store_weights(const Thread<head_dim>& thread, Shared<head_dim>& shared) {
#pragma unroll
  for (int c = 0; c < thread_keys; ++c)
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; r += 4) {
      const auto& x = thread.scores;
      const Pack<float, 4> pack{x[r][c], x[r + 1][c], x[r + 2][c], x[r + 3][c]};
      ladder::store(shared.weight(thread.lane * thread_keys + c, thread.row + r), pack, true);
    }
}

template <int head_dim>
__device__ void accumulate(Thread<head_dim>& thread, Shared<head_dim>& shared) {
  constexpr int width = Thread<head_dim>::width;
#pragma unroll 4
  for (int key = 0; key < block_keys; ++key) {
    float weights[THREAD_ROWS];
#pragma unroll
    for (int r = 0; r < THREAD_ROWS; r += 4) {
      const Pack<float, 4> pack = ladder::load<4>(shared.weight(key, thread.row + r), true);
#pragma unroll
      for (int i = 0; i < 4; ++i) weights[r + i] = pack.x[i];
    }
#pragma unroll
    for (int c = 0; c < thread.columns; c += width) {
      const auto v = ladder::load<width>(&shared.v[key][thread.column(c)], true);
#pragma unroll
      for (int r = 0; r < THREAD_ROWS; ++r)
#pragma unroll
        for (int i = 0; i < width; ++i) thread.acc[r][c + i] += weights[r] * v.x[i];
    }
  }
}

template <typename T, int head_dim>
__device__ void store_out(const Thread<head_dim>& thread, T* out, int64_t row_stride, int valid, bool aligned) {
  constexpr int width = Thread<head_dim>::width;
#pragma unroll
  for (int r = 0; r < THREAD_ROWS; ++r) {
    const float inverse = 1.0f / ladder::group_sum<lanes>(thread.total[r]);
    if (thread.row + r >= valid) continue;
#pragma unroll
    for (int c = 0; c < thread.columns; c += width) {
      Pack<T, width> pack;
#pragma unroll
      for (int i = 0; i < width; ++i) pack.x[i] = ladder::from_float<T>(thread.acc[r][c + i] * inverse);
      ladder::store(out + (thread.row + r) * row_stride + thread.column(c), pack, aligned);
    }
  }
}

// The last tile of a head, longest where causal, starts first. Neighbouring blocks share a head, and so K and V in L2.
template <typename T, int head_dim>
__global__ void __launch_bounds__(threads) attend(Problem<T> problem, int tiles) {
  extern __shared__ __align__(16) unsigned char memory[];
  Shared<head_dim>& shared = *reinterpret_cast<Shared<head_dim>*>(memory);
  const int64_t head = blockIdx.x / tiles;
  const int first = (tiles - 1 - blockIdx.x % tiles) * BLOCK_M, rows = min(BLOCK_M, problem.seq_len - first);
  const int visible = problem.causal ? first + rows : problem.seq_len;
  const T* k = problem.k.head(head, problem.heads);
  const T* v = problem.v.head(head, problem.heads);

  Thread<head_dim> thread;
  for (float& maximum : thread.maximum) maximum = ladder::lowest;
  const T* q = problem.q.head(head, problem.heads) + first * problem.q.row_stride;
  load_columns(shared.q, q, problem.q.row_stride, rows, problem.q.aligned, problem.scale_log2);
  for (int key = 0; key < visible; key += block_keys) {
    const int keys = min(block_keys, visible - key);
    load_columns(shared.k, k + key * problem.k.row_stride, problem.k.row_stride, keys, problem.k.aligned, 1.0f);
    __syncthreads();
    score(thread, shared);
    const int last = problem.causal ? first - key : block_keys;
    if (keys < block_keys || last < block_keys) mask(thread, last, keys);
    online_softmax(thread);
    __syncthreads();
    store_weights(thread, shared);
    load_rows(shared.v, v + key * problem.v.row_stride, problem.v.row_stride, keys, problem.v.aligned);
    __syncthreads();
    accumulate(thread, shared);
    __syncthreads();
  }
  T* out = problem.out.head(head, problem.heads) + first * problem.out.row_stride;
  store_out(thread, out, problem.out.row_stride, rows, problem.out.aligned);
}

template <typename T, int head_dim>
int enqueue(const attention_args& args) {
  const int tiles = int((args.seq_len + BLOCK_M - 1) / BLOCK_M), bytes = sizeof(Shared<head_dim>);
  if (cudaFuncSetAttribute(attend<T, head_dim>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) != cudaSuccess)
    return ATTENTION_UNSUPPORTED;
  const unsigned blocks = unsigned(args.batch * args.heads * tiles);
  attend<T, head_dim><<<blocks, threads, bytes, ladder::stream_of(args)>>>(Problem<T>(args), tiles);
  return ladder::launch_status();
}

}  // namespace

size_t attention_workspace_bytes(const attention_args*) { return 0; }

int attention(const attention_args* args) {
  return ladder::with_type(*args, [&](auto type) {
    return ladder::with_head_dim(*args, [&](auto head_dim) {
      return enqueue<typename decltype(type)::type, head_dim()>(*args);
    });
  });
}
