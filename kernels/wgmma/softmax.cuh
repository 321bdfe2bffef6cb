// The online softmax of the 64 rows of a warpgroup, in the layout of wgmma's accumulators: a lane has columns 8 i + 2 (lane % 4) and
// the next, of row lane / 4 (elements 0 and 1 of every four) and of row lane / 4 + 8 (2 and 3), of its warp's 16 rows.
#ifndef KERNEL_GATE_WGMMA_SOFTMAX_CUH
#define KERNEL_GATE_WGMMA_SOFTMAX_CUH

#include <cfloat>

#include "../softmax.cuh"
#include "hopper.cuh"

namespace wgmma {

// A row's weights are 2^(scale_log2 score - reference), for any reference that neither lets them overflow in 16 bits nor lets all of them
// vanish: what they are divided by in the end is their own sum. So references start at 0, and a lane's sums of weights tell
// when they have to move to the largest exponent. Weights are rounded relative to their size, in float16 down to 2^-14; one that is
// smaller is wrong by 2^-25 at most, beside a sum of at least `smallest_sum`.
constexpr float smallest_sum = 1.0f / 64, largest_sum = 1024;

// `reference` is the same in all four lanes that share a row; `total` is of this lane's columns alone until the end.
template <typename Element, int head_dim>
struct Attended {
  float out[head_dim / 2];
  float reference[2], total[2];

  // The lane's highest scores, of both rows.
  template <int count>
  static __device__ __forceinline__ void find_highest(const float (&scores)[count], float (&highest)[2]) {
#pragma unroll
    for (int i = 0; i < count; i += 2) {
      const float higher = fmaxf(scores[i], scores[i + 1]);
      highest[i / 2 % 2] = i < 4 ? higher : fmaxf(highest[i / 2 % 2], higher);
    }
  }

  // To the highest of these scores, or of all before; what was summed so far shrinks as much. A row that sees no key yet keeps a finite
  // reference: -inf minus it is no NaN.
  template <bool rescales, int count>
  __device__ __forceinline__ void move_references(const float (&scores)[count], float scale_log2) {
    float highest[2], factor[2];
    find_highest(scores, highest);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float before = reference[half];
      reference[half] = fmaxf(before, ladder::group_max<4>(highest[half]) * scale_log2);
      factor[half] = ladder::exp2_approx(before - reference[half]);
      total[half] *= factor[half];
    }
    if constexpr (rescales)
#pragma unroll
      for (int i = 0; i < head_dim / 2; ++i) out[i] *= factor[i / 2 % 2];
  }

  // The weights of a row's first keys, packed.
  template <int count>
  __device__ __forceinline__ void weigh_first(const float (&scores)[count], uint32_t (&weights)[count / 2], float scale_log2) {
    reference[0] = reference[1] = 0;
    weigh_to(scores, weights, total, scale_log2);
    const bool good = total[0] >= smallest_sum && total[1] >= smallest_sum && total[0] + total[1] <= largest_sum;
    if (__all_sync(~0u, good)) return;
    reference[0] = reference[1] = -FLT_MAX;
    move_references<false>(scores, scale_log2);
    weigh_to(scores, weights, total, scale_log2);
  }

  template <int count>
  __device__ __forceinline__ void weigh_to(const float (&scores)[count], uint32_t (&weights)[count / 2], float (&sums)[2],
                                           float scale_log2) const {
#pragma unroll
    for (int i = 0; i < count; i += 2) {
      const int half = i / 2 % 2;
      const float low = ladder::exp2_approx(fmaf(scores[i], scale_log2, -reference[half]));
      const float high = ladder::exp2_approx(fmaf(scores[i + 1], scale_log2, -reference[half]));
      sums[half] = i < 4 ? low + high : sums[half] + (low + high);
      weights[i / 2] = hopper::pack(Element(), low, high);
    }
  }

  // Scores to weights, in place. Says whether they are too large: then the scores have to be computed anew, which is rare.
  template <int count>
  __device__ __forceinline__ bool weigh(float (&scores)[count], float (&sums)[2], float scale_log2) const {
#pragma unroll
    for (int i = 0; i < count; i += 2) {
      const int half = i / 2 % 2;
      scores[i] = ladder::exp2_approx(fmaf(scores[i], scale_log2, -reference[half]));
      scores[i + 1] = ladder::exp2_approx(fmaf(scores[i + 1], scale_log2, -reference[half]));
      const float sum = scores[i] + scores[i + 1];
      sums[half] = i < 4 ? sum : sums[half] + sum;
    }
    return __any_sync(~0u, !(sums[0] + sums[1] <= largest_sum));
  }

  // Over the lanes that share a row.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; ++half) total[half] = __fdividef(1.0f, ladder::group_sum<4>(total[half]));
#pragma unroll
    for (int i = 0; i < head_dim / 2; ++i) out[i] *= total[i / 2 % 2];
  }
};

// `first` is the number of the lane's first key, `row` that of its first query.
template <int count>
__device__ __forceinline__ void mask(float (&scores)[count], int first, int row, int seq_len, bool causal) {
  const int left[2] = {(causal ? min(row + 1, seq_len) : seq_len) - first, (causal ? min(row + 9, seq_len) : seq_len) - first};
#pragma unroll
  for (int i = 0; i < count; ++i)
    if (i / 4 * 8 + i % 2 >= left[i / 2 % 2]) scores[i] = -INFINITY;
}

}  // namespace wgmma
#endif
