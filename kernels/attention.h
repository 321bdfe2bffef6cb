/* The one C interface between Kernel Gate and a compiled candidate.
 *
 *   out[b,h,i,:] = sum_j softmax_j(scale * <q[b,h,i,:], k[b,h,j,:]>) * v[b,h,j,:]
 *
 * with j <= i only when `causal` is set. A candidate defines both functions below, keeps no state
 * between calls, allocates nothing, and writes nothing but `out` and `workspace`.
 */
#ifndef KERNEL_GATE_ATTENTION_H
#define KERNEL_GATE_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum attention_dtype { ATTENTION_FLOAT32 = 0, ATTENTION_FLOAT16 = 1, ATTENTION_BFLOAT16 = 2 };

/* What `attention` returns. Any other value is an error of the candidate's own. */
enum attention_status { ATTENTION_OK = 0, ATTENTION_UNSUPPORTED = 1, ATTENTION_LAUNCH_FAILED = 2 };

/* Strides count elements, in the order batch, heads, seq_len, head_dim; the last is always 1. */
typedef struct attention_args {
  const void *q, *k, *v; /* device memory on CUDA, host memory on the CPU; aligned to one element */
  void *out;
  void *workspace;        /* contents undefined; aligned to 64 bytes */
  size_t workspace_bytes; /* at least what attention_workspace_bytes(args) asked for */
  int64_t q_stride[4], k_stride[4], v_stride[4], out_stride[4];
  int64_t batch, heads, seq_len, head_dim;
  float scale;
  int32_t causal; /* 0 or 1 */
  int32_t dtype;  /* enum attention_dtype: of q, k, v and out alike */
  void *stream;   /* cudaStream_t on CUDA, where all work must be enqueued; NULL on the CPU */
} attention_args;

/* Runs, or on CUDA enqueues, the whole computation. Returns an attention_status. */
int attention(const attention_args *args);

/* Scratch memory, in bytes, that one call with these sizes needs. Pointers are not read. */
size_t attention_workspace_bytes(const attention_args *args);

#ifdef __cplusplus
}
#endif
#endif
