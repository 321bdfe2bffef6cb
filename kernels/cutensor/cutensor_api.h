// The part of cuTENSOR 2 that this rung calls, opened at run time, and one contraction from plan to launch.
// Declarations after cutensor.h and cutensor/types.h of cuTENSOR 2.8 (docs.nvidia.com/cuda/cutensor).
#ifndef KERNEL_GATE_CUTENSOR_API_H
#define KERNEL_GATE_CUTENSOR_API_H

#include <cuda_runtime.h>
#include <library_types.h>

#include <algorithm>

#include "attention.h"
#include "dynamic_library.h"

namespace cutensor {

// A tensor of three modes, the first of stride 1; each mode is named by a letter. The last is the head, which a
// tensor that is the same for all heads (stride 0) does not have.
struct Tensor {
  void* data;
  cudaDataType type;
  char modes[4];
  int64_t extents[3], strides[3];

  uint32_t mode_count() const { return extents[2] > 1 && strides[2] == 0 ? 2 : 3; }

  // The largest power of two, up to 128, that the address is a multiple of: what a plan may rely on.
  uint32_t alignment() const {
    const uintptr_t address = reinterpret_cast<uintptr_t>(data) | 128;
    return uint32_t(address & -address);
  }
};

class Library {
 public:
  // Opened once per process; null where there is no cuTENSOR. The handle is the only state.
  static Library* open() {
    static Library library;
    return library.ready_ ? &library : nullptr;
  }

  // c = alpha * a b, summed over the modes that c lacks. Inputs of float32 are multiplied as TensorFloat-32: exact,
  // where they hold float16 or bfloat16. `workspace` is aligned to 256 bytes.
  int contract(float alpha, const Tensor& a, const Tensor& b, const Tensor& c, void* workspace,
               uint64_t workspace_bytes, cudaStream_t stream) {
    Objects made(*this);
    const float zero = 0.0f;
    const bool enqueued =
        describe(made.tensors[0], a) && describe(made.tensors[1], b) && describe(made.tensors[2], c) &&
        make_operation(made, a, b, c) && make_preference_(handle_, &made.preference, -1, 0) == 0 &&
        make_plan_(handle_, &made.plan, made.operation, made.preference, workspace_bytes) == 0 &&
        contract_(handle_, made.plan, &alpha, a.data, b.data, &zero, c.data, c.data, workspace, workspace_bytes,
                  stream) == 0;
    return enqueued ? ATTENTION_OK : ATTENTION_LAUNCH_FAILED;
  }

 private:
  using Object = void*;  // each of cuTENSOR's opaque pointers
  using Destroy = int(Object);

  // What one contraction makes on the host, and unmakes.
  struct Objects {
    const Library& library;
    Object tensors[3] = {}, operation = nullptr, preference = nullptr, plan = nullptr;

    explicit Objects(const Library& library) : library(library) {}
    Objects(const Objects&) = delete;
    ~Objects() {
      if (plan) library.destroy_plan_(plan);
      if (preference) library.destroy_preference_(preference);
      if (operation) library.destroy_operation_(operation);
      for (Object tensor : tensors)
        if (tensor) library.destroy_tensor_(tensor);
    }
  };

  Library() {
    void* library = ladder::open_library({"libcutensor.so.2"});
    if (!library) return;
    const auto find = [&](const char* name, auto& function) { return ladder::find_symbol(library, name, function); };
    int (*create)(Object*) = nullptr;
    ready_ = find("cutensorCreate", create) && find("cutensorCreateTensorDescriptor", make_tensor_) &&
             find("cutensorCreateContraction", make_contraction_) &&
             find("cutensorCreatePlanPreference", make_preference_) && find("cutensorCreatePlan", make_plan_) &&
             find("cutensorContract", contract_) && find("cutensorDestroyPlan", destroy_plan_) &&
             find("cutensorDestroyPlanPreference", destroy_preference_) &&
             find("cutensorDestroyOperationDescriptor", destroy_operation_) &&
             find("cutensorDestroyTensorDescriptor", destroy_tensor_) &&
             find("CUTENSOR_COMPUTE_DESC_32F", compute_32f_) && find("CUTENSOR_COMPUTE_DESC_TF32", compute_tf32_) &&
             create(&handle_) == 0;
  }

  bool describe(Object& made, const Tensor& tensor) {
    int64_t strides[3];  // cuTENSOR takes none below 1, also where an extent of 1 leaves a stride without meaning
    std::transform(tensor.strides, tensor.strides + 3, strides, [](int64_t x) { return std::max<int64_t>(x, 1); });
    return make_tensor_(handle_, &made, tensor.mode_count(), tensor.extents, strides, tensor.type,
                        tensor.alignment()) == 0;
  }

  bool make_operation(Objects& made, const Tensor& a, const Tensor& b, const Tensor& c) {
    constexpr int identity = 1;
    int32_t modes[3][3];
    const Tensor* tensors[3] = {&a, &b, &c};
    for (int i = 0; i < 3; ++i) std::copy_n(tensors[i]->modes, 3, modes[i]);
    const Object compute = a.type == CUDA_R_32F ? *compute_tf32_ : *compute_32f_;
    return make_contraction_(handle_, &made.operation, made.tensors[0], modes[0], identity, made.tensors[1],
                             modes[1], identity, made.tensors[2], modes[2], identity, made.tensors[2], modes[2],
                             compute) == 0;
  }

  Object handle_ = nullptr;
  const Object *compute_32f_ = nullptr, *compute_tf32_ = nullptr;
  int (*make_tensor_)(Object, Object*, uint32_t, const int64_t*, const int64_t*, cudaDataType, uint32_t) = nullptr;
  int (*make_contraction_)(Object, Object*, Object, const int32_t*, int, Object, const int32_t*, int, Object,
                           const int32_t*, int, Object, const int32_t*, Object) = nullptr;
  int (*make_preference_)(Object, Object*, int, int) = nullptr;
  int (*make_plan_)(Object, Object*, Object, Object, uint64_t) = nullptr;
  int (*contract_)(Object, Object, const void*, const void*, const void*, const void*, const void*, void*, void*,
                   uint64_t, cudaStream_t) = nullptr;
  Destroy *destroy_plan_ = nullptr, *destroy_preference_ = nullptr, *destroy_operation_ = nullptr,
          *destroy_tensor_ = nullptr;
  bool ready_ = false;
};

}  // namespace cutensor

#endif
