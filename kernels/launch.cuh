// What stands around the kernels of the CUDA ladder: views of strided tensors, conversions, vectors of eight
// elements, and the step from sizes known at run time to templates.
#ifndef KERNEL_GATE_LAUNCH_CUH
#define KERNEL_GATE_LAUNCH_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "attention.h"

namespace ladder {

// One tensor, (batch, heads, rows, head_dim): where each head begins, and how far apart its rows lie, in elements.
template <typename T>
struct View {
  T* data;
  int64_t batch_stride, head_stride, row_stride;
  bool aligned;  // every row begins at a multiple of 16 bytes

  View(const void* data, const int64_t* stride)
      : data(static_cast<T*>(const_cast<void*>(data))),
        batch_stride(stride[0]), head_stride(stride[1]), row_stride(stride[2]),
        aligned((reinterpret_cast<uintptr_t>(data) | (stride[0] | stride[1] | stride[2]) * sizeof(T)) % 16 == 0) {}

  // `index` counts the heads of the whole batch.
  __host__ __device__ T* head(int64_t index, int64_t heads) const {
    return data + index / heads * batch_stride + index % heads * head_stride;
  }
};

template <typename T>
struct Problem {
  View<const T> q, k, v;
  View<T> out;
  int64_t heads;
  int seq_len;
  float scale_log2;  // for powers of two instead of e
  bool causal;

  explicit Problem(const attention_args& args)
      : q(args.q, args.q_stride), k(args.k, args.k_stride), v(args.v, args.v_stride),
        out(args.out, args.out_stride), heads(args.heads), seq_len(int(args.seq_len)),
        scale_log2(args.scale * 1.4426950408889634f), causal(args.causal != 0) {}
};

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

template <int value> using Int = std::integral_constant<int, value>;
template <typename T> struct Type { using type = T; };

// Calls f(Int<head_dim>), for the head sizes that the ladder supports.
template <typename F>
int with_head_dim(const attention_args& args, F f) {
  switch (args.head_dim) {
    case 32: return f(Int<32>{});
    case 64: return f(Int<64>{});
    case 128: return f(Int<128>{});
    default: return ATTENTION_UNSUPPORTED;
  }
}

// Calls f(Type<T>), for the two types of tensor cores.
template <typename F>
int with_half_type(const attention_args& args, F f) {
  switch (args.dtype) {
    case ATTENTION_FLOAT16: return f(Type<__half>{});
    case ATTENTION_BFLOAT16: return f(Type<__nv_bfloat16>{});
    default: return ATTENTION_UNSUPPORTED;
  }
}

template <typename F>
int with_type(const attention_args& args, F f) {
  return args.dtype == ATTENTION_FLOAT32 ? f(Type<float>{}) : with_half_type(args, f);
}

inline cudaStream_t stream_of(const attention_args& args) { return static_cast<cudaStream_t>(args.stream); }

// Of the launch just made.
inline int launch_status() { return cudaGetLastError() == cudaSuccess ? ATTENTION_OK : ATTENTION_LAUNCH_FAILED; }

}  // namespace ladder

#endif
