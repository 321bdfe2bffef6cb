// The part of cuBLAS that the ladder calls, opened at run time, and its one product in terms of rows.
// Declarations after cublas_api.h of cuBLAS 12 and 13 (docs.nvidia.com/cuda/cublas).
#ifndef KERNEL_GATE_CUBLAS_API_H
#define KERNEL_GATE_CUBLAS_API_H

#include <cuda_runtime.h>
#include <library_types.h>
#include <limits.h>

#include <algorithm>
#include <mutex>

#include "attention.h"
#include "dynamic_library.h"
#include "workspace_chunks.h"

namespace ladder {

class Cublas {
 public:
  // What NVIDIA recommends for Hopper; less for the others.
  static constexpr size_t workspace_bytes = 32 << 20, alignment = 256;

  // Opened once per process, on the device that is current then; null where there is no cuBLAS. The handle is the
  // only state, and the first call must not be one that is captured into a graph.
  static Cublas* open() {
    static Cublas cublas;
    return cublas.ready_ ? &cublas : nullptr;
  }

  // One operand or result: row i of matrix n begins `i * row_stride + n * stride` elements after `data`.
  struct Matrices {
    const void* data;
    cudaDataType type;
    int64_t row_stride, stride;
  };

  // All work until the lock goes is enqueued in `stream`, with `workspace` as scratch memory.
  [[nodiscard]] std::unique_lock<std::mutex> use(cudaStream_t stream, void* workspace) {
    std::unique_lock<std::mutex> lock(mutex_);
    set_stream_(handle_, stream);  // resets the workspace, so this goes first
    set_workspace_(handle_, workspace, workspace_bytes);
    return lock;
  }

  // c = alpha * a b, or alpha * a bᵀ where b is given as columns x inner; a is rows x inner and c rows x columns.
  // In the columns-first terms of BLAS, cᵀ = bᵀ aᵀ, and every matrix is its own transpose already.
  int multiply(float alpha, const Matrices& a, const Matrices& b, bool b_transposed, const Matrices& c,
               int64_t rows, int64_t columns, int64_t inner, int64_t count) {
    const float zero = 0.0f;
    const int b_rows = int(b_transposed ? columns : inner), b_width = int(b_transposed ? inner : columns);
    const int status = multiply_(handle_, b_transposed ? 1 : 0, 0, int(columns), int(rows), int(inner), &alpha,
                                 b.data, b.type, pitch(b, b_rows, b_width), b.stride,
                                 a.data, a.type, pitch(a, rows, inner), a.stride, &zero,
                                 const_cast<void*>(c.data), c.type, pitch(c, rows, columns), c.stride,
                                 int(count), compute_32f, algorithm_default);
    return status == 0 ? ATTENTION_OK : ATTENTION_LAUNCH_FAILED;
  }

 private:
  using Handle = struct cublasContext*;
  static constexpr int compute_32f = 68, algorithm_default = -1, no_reduced_precision_reduction = 16;

  Cublas() {
    void* library = open_library({"libcublas.so.13", "libcublas.so.12"});
    int (*create)(Handle*) = nullptr;
    int (*set_math_mode)(Handle, int) = nullptr;
    ready_ = library && find_symbol(library, "cublasCreate_v2", create) &&
             find_symbol(library, "cublasSetMathMode", set_math_mode) &&
             find_symbol(library, "cublasSetStream_v2", set_stream_) &&
             find_symbol(library, "cublasSetWorkspace_v2", set_workspace_) &&
             find_symbol(library, "cublasGemmStridedBatchedEx", multiply_) && create(&handle_) == 0 &&
             set_math_mode(handle_, no_reduced_precision_reduction) == 0;
  }

  // BLAS asks for a pitch of at least the width, also where there is but one row and the stride means nothing.
  static int pitch(const Matrices& m, int64_t rows, int64_t width) {
    return int(rows > 1 ? m.row_stride : std::max<int64_t>(1, width));
  }

  Handle handle_ = nullptr;
  int (*set_stream_)(Handle, cudaStream_t) = nullptr;
  int (*set_workspace_)(Handle, void*, size_t) = nullptr;
  int (*multiply_)(Handle, int, int, int, int, int, const void*, const void*, cudaDataType, int, long long,
                   const void*, cudaDataType, int, long long, const void*, void*, cudaDataType, int, long long,
                   int, int, int) = nullptr;
  bool ready_ = false;
  std::mutex mutex_;
};

// The element types of q, k, v and out.
inline cudaDataType cuda_type(const attention_args& args) {
  return args.dtype == ATTENTION_FLOAT16 ? CUDA_R_16F : args.dtype == ATTENTION_BFLOAT16 ? CUDA_R_16BF : CUDA_R_32F;
}

inline int64_t element_bytes(const attention_args& args) { return args.dtype == ATTENTION_FLOAT32 ? 4 : 2; }

// BLAS cannot express rows that overlap, as those of a tensor expanded along seq_len.
inline bool rows_apart(const attention_args& args) {
  const auto apart = [&](const int64_t* stride) {
    return args.seq_len == 1 || (stride[2] >= args.head_dim && stride[2] <= INT_MAX);
  };
  return apart(args.q_stride) && apart(args.k_stride) && apart(args.v_stride) && apart(args.out_stride);
}

// A chunk's heads of one of the tensors, from row `row` on.
inline Cublas::Matrices heads_of(const attention_args& args, const void* data, const int64_t* stride,
                                 const Chunk& chunk, int64_t row) {
  const int64_t offset = offset_of(args, stride, chunk.first_head, row) * element_bytes(args);
  return {static_cast<const char*>(data) + offset, cuda_type(args), stride[2], head_stride(args, stride)};
}

// The caller's workspace: scratch memory for cuBLAS first, then the chunk.
struct SplitWorkspace {
  void *cublas, *chunk;

  explicit SplitWorkspace(const attention_args& args) {
    const uintptr_t start = round_up(reinterpret_cast<uintptr_t>(args.workspace), Cublas::alignment);
    cublas = reinterpret_cast<void*>(start);
    chunk = reinterpret_cast<void*>(start + Cublas::workspace_bytes);
  }

  static size_t bytes(const ChunkSize& size) { return Cublas::alignment + Cublas::workspace_bytes + size.bytes(); }
};

// Calls visit(cublas, chunk, memory) for each chunk, with cuBLAS set to the caller's stream and `memory` for the chunk,
// until one does not return ATTENTION_OK.
template <typename Visit>
int for_each_cublas_chunk(const attention_args& args, const ChunkSize& size, Visit visit) {
  Cublas* cublas = Cublas::open();
  if (!cublas || !rows_apart(args)) return ATTENTION_UNSUPPORTED;
  const SplitWorkspace workspace(args);
  const auto lock = cublas->use(static_cast<cudaStream_t>(args.stream), workspace.cublas);
  return for_each_chunk(args, size, [&](const Chunk& chunk) { return visit(*cublas, chunk, workspace.chunk); });
}

}  // namespace ladder

#endif
