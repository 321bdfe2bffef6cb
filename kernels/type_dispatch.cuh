// Dispatches a call's types and sizes, known at run time, to templates; and returns the status of a launch.
#ifndef KERNEL_GATE_TYPE_DISPATCH_CUH
#define KERNEL_GATE_TYPE_DISPATCH_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <type_traits>

#include "attention.h"

namespace ladder {

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
