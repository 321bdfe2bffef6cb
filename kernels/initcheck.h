// Marks memory as initialised for compute-sanitizer's initcheck, which does not track writes by the tensor memory
// accelerator: after a torch.bmm on an H200, it reported every read of the result as uninitialised (compute-sanitizer
// of CUDA 13.0). Without the sanitizer this has no effect.
// docs.nvidia.com/compute-sanitizer/SanitizerNvtxGuide
#ifndef KERNEL_GATE_INITCHECK_H
#define KERNEL_GATE_INITCHECK_H

#include <cuda_runtime.h>
#include <stdint.h>

#if __has_include(<nvtx3/nvToolsExtMemCudaRt.h>)
#include <nvtx3/nvToolsExtMemCudaRt.h>
#define KERNEL_GATE_HAS_NVTX
#endif

namespace ladder {

// Marks the first `row_bytes` of every row as written by the work queued in `stream`; rows are `pitch` bytes apart.
inline void mark_written(const void* first, int64_t rows, int64_t row_bytes, int64_t pitch, cudaStream_t stream) {
#ifdef KERNEL_GATE_HAS_NVTX
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("kernel-gate");
  const bool whole = row_bytes == pitch;
  for (int64_t row = 0; row < (whole ? 1 : rows); ++row) {
    nvtxMemVirtualRangeDesc_t range = {};
    range.ptr = static_cast<const char*>(first) + row * pitch;
    range.size = whole ? rows * row_bytes : row_bytes;
    nvtxMemMarkInitializedBatch_t batch = {};
    batch.extCompatID = NVTX_EXT_COMPATID_MEM;
    batch.structSize = sizeof(batch);
    batch.regionType = NVTX_MEM_TYPE_VIRTUAL_ADDRESS;
    batch.regionDescCount = 1;
    batch.regionDescElementSize = sizeof(range);
    batch.regionDescElements = &range;
    nvtxMemCudaMarkInitialized(domain, stream, 0, &batch);
  }
#endif
}

}  // namespace ladder

#endif
