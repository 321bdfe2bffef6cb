// Strided views of a call's tensors for the CUDA kernels of the ladder, and the other arguments that all blocks share.
#ifndef KERNEL_GATE_TENSOR_VIEW_CUH
#define KERNEL_GATE_TENSOR_VIEW_CUH

#include <cuda_runtime.h>

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

}  // namespace ladder

#endif
