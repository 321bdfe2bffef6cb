// The online softmax of the rows that one warp holds, in the layout of mma's accumulators: lane l has columns
// 2(l % 4) and 2(l % 4) + 1 of every 8, of rows l / 4 and l / 4 + 8 of every 16.
#ifndef KERNEL_GATE_WMMA_SOFTMAX_CUH
#define KERNEL_GATE_WMMA_SOFTMAX_CUH

#include <cfloat>

#include "mma.cuh"

namespace wmma {

constexpr unsigned every_lane = 0xffffffffu;

// A weight may grow to 2^8 before its row's reference moves. Weights are rounded relative to their size, so that the
// slack costs no accuracy, and far from overflow, in float16 too.
constexpr float slack_log2 = 8;

// `reference` and the exponents are in units of log2. A row's reference is the same in all four lanes that share the row;
// `total` is of this lane's columns alone until the end.
template <int tiles, int columns, int head_dim>
struct Attended {
  float out[tiles][head_dim / 8][4];
  float reference[tiles][2];
  float total[tiles][2];

  // From the lowest number, not from -inf, any difference is a number or -inf: never NaN.
  __device__ __forceinline__ Attended() : out{}, total{} {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) reference[tile][0] = reference[tile][1] = -FLT_MAX;
  }

  // Moves references only if a score lies above one by more than the slack, after the first keys a rare event: most steps
  // exchange nothing between lanes but one vote, and leave `out` alone.
  __device__ __forceinline__ void refer_to(const float (&scores)[tiles][columns / 8][4], float scale_log2) {
    float highest[tiles][2];
    bool exceeded = false;
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = fmaxf(scores[tile][0][2 * half], scores[tile][0][2 * half + 1]);
#pragma unroll
        for (int n = 1; n < columns / 8; ++n)
          most = fmaxf(most, fmaxf(scores[tile][n][2 * half], scores[tile][n][2 * half + 1]));
        highest[tile][half] = most;
        exceeded |= fmaf(most, scale_log2, -reference[tile][half]) > slack_log2;
      }
    if (__any_sync(every_lane, exceeded)) move_references(highest, scale_log2);
  }

  __device__ __forceinline__ void move_references(const float (&highest)[tiles][2], float scale_log2) {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = highest[tile][half];
        most = fmaxf(most, __shfl_xor_sync(every_lane, most, 1));
        most = fmaxf(most, __shfl_xor_sync(every_lane, most, 2));
        const float before = reference[tile][half], after = fmaxf(before, most * scale_log2);
        const float factor = exp2_fast(before - after);
        reference[tile][half] = after;
        total[tile][half] *= factor;
#pragma unroll
        for (int n = 0; n < head_dim / 8; ++n) {
          out[tile][n][2 * half] *= factor;
          out[tile][n][2 * half + 1] *= factor;
        }
      }
  }

  // One pair of scores to weights: the scale joins the subtraction in one FMA. Adds them to the row's total.
  template <typename Element>
  __device__ __forceinline__ uint32_t weigh(int tile, int half, float low, float high, float scale_log2) {
    low = exp2_fast(fmaf(low, scale_log2, -reference[tile][half]));
    high = exp2_fast(fmaf(high, scale_log2, -reference[tile][half]));
    total[tile][half] += low + high;
    return pack(Element(), low, high);
  }

  // Sums over the lanes that share a row.
  __device__ __forceinline__ void finish_totals() {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        total[tile][half] += __shfl_xor_sync(every_lane, total[tile][half], 1);
        total[tile][half] += __shfl_xor_sync(every_lane, total[tile][half], 2);
      }
  }
};

}  // namespace wmma
#endif
