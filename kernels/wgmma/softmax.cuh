// The online softmax of the 64 rows of a warpgroup, in the layout of wgmma's accumulators: a lane has columns 8 i + 2 (lane % 4) and
// the next, of row lane / 4 (elements 0 and 1 of every four) and of row lane / 4 + 8 (2 and 3), of its warp's 16 rows.
#ifndef KERNEL_GATE_WGMMA_SOFTMAX_CUH
#define KERNEL_GATE_WGMMA_SOFTMAX_CUH

#include <cfloat>

#include "../softmax.cuh"
#include "hopper.cuh"

namespace wgmma {

// A weight may grow to 2^8 before its row's reference moves: far from overflow, in float16 too, and weights are rounded relative
// to their size, so that the slack costs no accuracy.
constexpr float slack_log2 = 8, largest_sum = 1024;

// A row's weights are 2^(scale_log2 score - reference). `reference` is near the largest exponent so far, and the same in all four
// lanes that share the row; `total` is of this lane's columns alone until the end.
template <typename Element, int head_dim>
struct Attended {
  float out[head_dim / 2] = {};
  float reference[2] = {-FLT_MAX, -FLT_MAX};  // finite, so that -inf minus it is no NaN
  float total[2] = {};
  float factor[2];  // by which `out` shrinks where references moved

  // The lane's highest scores, of both rows.
  template <int count>
  static __device__ __forceinline__ void find_highest(const float (&scores)[count], float (&highest)[2]) {
#pragma unroll
    for (int i = 0; i < count; i += 2) {
      const float higher = fmaxf(scores[i], scores[i + 1]);
      highest[i / 2 % 2] = i < 4 ? higher : fmaxf(highest[i / 2 % 2], higher);
    }
  }

  // Moves references only if a score lies above one by more than the slack, after the first keys a rare event: most steps
  // exchange nothing between lanes but one vote, and leave `out` alone. Says whether `out` has to be rescaled.
  template <int count>
  __device__ __forceinline__ bool refer_to(const float (&scores)[count], float scale_log2) {
    float highest[2];
    find_highest(scores, highest);
    const bool exceeded = fmaf(highest[0], scale_log2, -reference[0]) > slack_log2 ||
                          fmaf(highest[1], scale_log2, -reference[1]) > slack_log2;
    if (!__any_sync(~0u, exceeded)) return false;
    move_references(highest, scale_log2);
    return true;
  }

  __device__ __forceinline__ void move_references(const float (&highest)[2], float scale_log2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float before = reference[half];
      reference[half] = fmaxf(before, ladder::group_max<4>(highest[half]) * scale_log2);
      factor[half] = ladder::exp2_approx(before - reference[half]);
      total[half] *= factor[half];
    }
  }

  __device__ __forceinline__ void rescale() {
#pragma unroll
    for (int i = 0; i < head_dim / 2; ++i) out[i] *= factor[i / 2 % 2];
  }

  // Scores to weights; the scale joins the subtraction in one FMA.
  template <int count>
  __device__ __forceinline__ void weigh(float (&scores)[count], float scale_log2) {
#pragma unroll
    for (int i = 0; i < count; i += 2) {
      const int half = i / 2 % 2;
      scores[i] = ladder::exp2_approx(fmaf(scores[i], scale_log2, -reference[half]));
      scores[i + 1] = ladder::exp2_approx(fmaf(scores[i + 1], scale_log2, -reference[half]));
      total[half] += scores[i] + scores[i + 1];
    }
  }

  // Scores to packed weights, without a look at their maximum: a sum of weights that is too large tells that references have to
  // move, and only then is the maximum taken, and are the weights computed anew.
  template <int count>
  __device__ __forceinline__ void weigh_and_check(const float (&scores)[count], uint32_t (&weights)[count / 2], float scale_log2) {
    float sums[2];
    weigh_to(scores, weights, sums, scale_log2);
    if (__any_sync(~0u, !(sums[0] + sums[1] <= largest_sum))) {
      float highest[2];
      find_highest(scores, highest);
      move_references(highest, scale_log2);
      rescale();
      weigh_to(scores, weights, sums, scale_log2);
    }
    total[0] += sums[0];
    total[1] += sums[1];
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
  const int last[2] = {causal ? min(row + 1, seq_len) : seq_len, causal ? min(row + 9, seq_len) : seq_len};
#pragma unroll
  for (int i = 0; i < count; ++i)
    if (first + i / 4 * 8 + i % 2 >= last[i / 2 % 2]) scores[i] = -INFINITY;
}

}  // namespace wgmma
#endif
