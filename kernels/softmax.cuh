// The softmax of the CUDA ladder: its exponential, its reductions, and the kernel that turns rows of scores in
// memory into rows of weights.
#ifndef KERNEL_GATE_SOFTMAX_CUH
#define KERNEL_GATE_SOFTMAX_CUH

#include <math.h>

#include "element_pack.cuh"
#include "type_dispatch.cuh"

namespace ladder {

constexpr float log2_e = 1.4426950408889634f;

// Stands for a maximum over nothing: finite, so that -inf minus it is no NaN.
constexpr float lowest = -1e30f;

// 2^x within 2 ulp, in one instruction; 0 below 2^-126 and for -inf.
__device__ inline float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Over groups of `lanes` neighbouring lanes; every lane gets the result.
template <int lanes = 32>
__device__ inline float group_max(float x) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

template <int lanes = 32>
__device__ inline float group_sum(float x) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

__device__ inline float max_of(const Pack<float, 4>& p) { return fmaxf(fmaxf(p.x[0], p.x[1]), fmaxf(p.x[2], p.x[3])); }

// Four scores from `column` on, and -inf in place of those that are not visible: they are not read.
__device__ inline Pack<float, 4> load_visible(const float* row, int column, int visible) {
  if (column + 4 <= visible) return load<4>(row + column, true);
  Pack<float, 4> pack;
#pragma unroll
  for (int i = 0; i < 4; ++i) pack.x[i] = column + i < visible ? row[column + i] : -INFINITY;
  return pack;
}

// The maximum of some scores in units of log2, and the sum of their weights relative to it.
struct Statistics {
  float maximum = lowest, total = 0.0f;

  // Online: what was summed so far shrinks by as much as the maximum grows.
  __device__ void add(const Pack<float, 4>& x) {
    const float higher = fmaxf(maximum, max_of(x));
    total *= exp2_approx(maximum - higher);
#pragma unroll
    for (int i = 0; i < 4; ++i) total += exp2_approx(x.x[i] - higher);
    maximum = higher;
  }

  template <int lanes>
  __device__ void merge() {
    const float highest = group_max<lanes>(maximum);
    total = group_sum<lanes>(total * exp2_approx(maximum - highest));
    maximum = highest;
  }
};

// Weights are stored times this power of two, which the second product undoes: so half precision loses
// nothing to subnormals, however many keys share a row.
template <typename T> constexpr float weight_unit = 32768.0f;
template <> constexpr float weight_unit<float> = 1.0f;

// Rows of scores, `pitch` floats apart, of several heads with `rows_a_head` rows each, from row `first_row` on.
struct ScoreRows {
  float* scores;
  int64_t count, pitch, rows_a_head, first_row;
  int seq_len;
  bool causal;
};

constexpr int rows_a_block = 4;  // a warp each

template <typename T>
__device__ inline void store_weights(float* row, int column, int seq_len, Pack<float, 4> x, float factor) {
  if (column >= seq_len) return;
  Pack<T, 4> weights;
#pragma unroll
  for (int i = 0; i < 4; ++i) weights.x[i] = from_float<T>(x.x[i] * factor);
  store(reinterpret_cast<T*>(row) + column, weights, true);
}

__device__ inline Pack<float, 4> powers(Pack<float, 4> x, float maximum) {
#pragma unroll
  for (int i = 0; i < 4; ++i) x.x[i] = exp2_approx(x.x[i] - maximum);
  return x;
}

__device__ inline Pack<float, 4> scores_in_log2(const float* row, int column, int visible) {
  Pack<float, 4> x = load_visible(row, column, visible);
#pragma unroll
  for (int i = 0; i < 4; ++i) x.x[i] *= log2_e;
  return x;
}

// A row that fits a warp's registers, `packs` times 128 scores, is read once.
template <typename T, int packs>
__device__ inline void softmax_in_registers(float* row, int seq_len, int visible) {
  const int lane = threadIdx.x;
  Pack<float, 4> x[packs];
  float maximum = -INFINITY, total = 0.0f;
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    x[i] = scores_in_log2(row, 4 * (lane + 32 * i), visible);
    maximum = fmaxf(maximum, max_of(x[i]));
  }
  maximum = group_max(maximum);
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    x[i] = powers(x[i], maximum);
    total += (x[i].x[0] + x[i].x[1]) + (x[i].x[2] + x[i].x[3]);
  }
  const float factor = weight_unit<T> / group_sum(total);
  __syncwarp();  // the weights take the place of scores that other lanes have read by now
#pragma unroll
  for (int i = 0; i < packs; ++i) store_weights<T>(row, 4 * (lane + 32 * i), seq_len, x[i], factor);
}

// A longer row is read twice: statistics first, then weights.
template <typename T>
__device__ inline void softmax_in_two_sweeps(float* row, int seq_len, int visible) {
  Statistics statistics;
  for (int column = 4 * threadIdx.x; column < visible; column += 128)
    statistics.add(scores_in_log2(row, column, visible));
  statistics.merge<32>();
  const float factor = weight_unit<T> / statistics.total;
  for (int start = 0; start < seq_len; start += 128) {
    const int column = start + 4 * threadIdx.x;
    const Pack<float, 4> x = powers(scores_in_log2(row, column, visible), statistics.maximum);
    __syncwarp();  // weights are no wider than scores: they fall on scores of this step, or of steps before
    store_weights<T>(row, column, seq_len, x, factor);
  }
}

// In place: scores become weights of type T, row by row, at twice the pitch where T is half as wide.
// `packs` is 0 for rows that do not fit in registers.
template <typename T, int packs>
__global__ void __launch_bounds__(32 * rows_a_block) softmax_kernel(ScoreRows rows) {
  const int64_t index = int64_t(blockIdx.x) * rows_a_block + threadIdx.y;
  if (index >= rows.count) return;
  float* row = rows.scores + index * rows.pitch;
  const int visible = rows.causal ? int(rows.first_row + index % rows.rows_a_head) + 1 : rows.seq_len;
  if constexpr (packs > 0)
    softmax_in_registers<T, packs>(row, rows.seq_len, visible);
  else
    softmax_in_two_sweeps<T>(row, rows.seq_len, visible);
}

template <typename T>
int enqueue_softmax(const ScoreRows& rows, cudaStream_t stream) {
  const dim3 block(32, rows_a_block);
  const unsigned blocks = unsigned((rows.count + rows_a_block - 1) / rows_a_block);
  if (rows.seq_len <= 128)
    softmax_kernel<T, 1><<<blocks, block, 0, stream>>>(rows);
  else if (rows.seq_len <= 256)
    softmax_kernel<T, 2><<<blocks, block, 0, stream>>>(rows);
  else if (rows.seq_len <= 512)
    softmax_kernel<T, 4><<<blocks, block, 0, stream>>>(rows);
  else if (rows.seq_len <= 1024)
    softmax_kernel<T, 8><<<blocks, block, 0, stream>>>(rows);
  else
    softmax_kernel<T, 0><<<blocks, block, 0, stream>>>(rows);
  return launch_status();
}

}  // namespace ladder

#endif
