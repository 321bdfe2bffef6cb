// Describes a strided tensor to the copy engine. The driver's function is found when it is needed, so that nothing links libcuda.
#ifndef KERNEL_GATE_WGMMA_TENSOR_MAP_H
#define KERNEL_GATE_WGMMA_TENSOR_MAP_H

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include "../attention.h"

namespace wgmma {

inline PFN_cuTensorMapEncodeTiled_v12000 encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
  if (status != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

// What the engine asks of a tensor: rows that begin at multiples of 16 bytes and strides under 2^40 bytes. A stride of 0, an expanded
// dimension, is left to the other path too: no document says that the engine takes it.
inline bool is_mappable(const void* first, const int64_t (&stride)[4], const attention_args& args) {
  const int64_t sizes[3] = {args.batch, args.heads, args.seq_len};
  for (int i = 0; i < 3; ++i)
    if (sizes[i] > 1 && (stride[i] <= 0 || stride[i] % 8 != 0 || stride[i] >= int64_t(1) << 39)) return false;
  return reinterpret_cast<uintptr_t>(first) % 16 == 0;
}

// Boxes of `rows` rows of one head, 64 elements (128 bytes) of each, swizzled.
inline bool map_tensor(CUtensorMap& map, const void* first, const int64_t (&stride)[4], const attention_args& args, int rows) {
  const auto encode = encode_tiled();
  if (encode == nullptr) return false;
  const cuuint64_t sizes[4] = {cuuint64_t(args.head_dim), cuuint64_t(args.seq_len), cuuint64_t(args.heads),
                               cuuint64_t(args.batch)};
  cuuint64_t bytes_apart[3];
  for (int i = 0; i < 3; ++i)  // that of a dimension of one element is never used, and may be anything
    bytes_apart[i] = sizes[i + 1] > 1 ? cuuint64_t(stride[2 - i]) * 2 : cuuint64_t(args.head_dim) * 2;
  const cuuint32_t box[4] = {64, cuuint32_t(rows), 1, 1}, steps[4] = {1, 1, 1, 1};
  const auto type = args.dtype == ATTENTION_FLOAT16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  return encode(&map, type, 4, const_cast<void*>(first), sizes, bytes_apart, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace wgmma
#endif
