#include "attention.h"

#ifndef GROUPS
#define TEAMS 2
#define GROUPS 2
#define STAGES 4
#define SPLIT_BLOCKS 2
#define SPLIT_GROUPS 4
#define SPLIT_STAGES 1
#endif
#include "dispatch.cuh"

namespace wgmma {

template <typename Element>
int run_any(const attention_args& args) {
  switch (args.head_dim) {
    case 64: return run<Element, 64>(args);
#ifndef ONLY_64
    case 128: return run<Element, 128>(args);
#endif
    default: return ATTENTION_UNSUPPORTED;
  }
}

}  // namespace wgmma

int attention(const attention_args* args) {
  switch (args->dtype) {
    case ATTENTION_FLOAT16: return wgmma::run_any<__half>(*args);
#ifndef ONLY_64
    case ATTENTION_BFLOAT16: return wgmma::run_any<__nv_bfloat16>(*args);
#endif
    default: return ATTENTION_UNSUPPORTED;
  }
}

size_t attention_workspace_bytes(const attention_args*) { return 0; }
