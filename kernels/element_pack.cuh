// Elements that are moved together: conversions, loads and stores of any alignment, and tiles in shared memory.
#ifndef KERNEL_GATE_ELEMENT_PACK_CUH
#define KERNEL_GATE_ELEMENT_PACK_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

namespace ladder {

template <typename T> __device__ inline float to_float(T x) { return float(x); }
template <typename T> __device__ inline T from_float(float x) { return T(x); }
template <> __device__ inline __half from_float<__half>(float x) { return __float2half_rn(x); }
template <> __device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// `count` elements that are loaded and stored together, in as few instructions as their size allows.
template <typename T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Pack {
  T x[count];
};

// At any alignment; at most 16 bytes at a time where `aligned`.
template <int count, typename T>
__device__ inline Pack<T, count> load(const T* from, bool aligned) {
  Pack<T, count> pack;
  if (aligned) return *reinterpret_cast<const Pack<T, count>*>(from);
#pragma unroll
  for (int i = 0; i < count; ++i) pack.x[i] = from[i];
  return pack;
}

template <typename T, int count>
__device__ inline void store(T* to, const Pack<T, count>& pack, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Pack<T, count>*>(to) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < count; ++i) to[i] = pack.x[i];
}

// A tile of `rows` x `head_dim` from global into shared memory, `pitch` elements from row to row; rows from `valid`
// on become zero: a NaN there would survive a weight of zero.
template <int rows, int head_dim, int pitch, int threads, typename T>
__device__ inline void load_tile(T* tile, const T* from, int64_t row_stride, int valid, bool aligned) {
  constexpr int packs = head_dim / 8;
  for (int i = threadIdx.x; i < rows * packs; i += threads) {
    const int row = i / packs, column = i % packs * 8;
    Pack<T, 8> pack = {};
    if (row < valid) pack = load<8>(from + row * row_stride + column, aligned);
    store(tile + row * pitch + column, pack, true);
  }
}

}  // namespace ladder

#endif
