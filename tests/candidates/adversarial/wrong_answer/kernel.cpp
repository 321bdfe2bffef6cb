#include "honest.h"

extern "C" int attention(const attention_args *a) {
  honest(a);
  float *out = static_cast<float *>(a->out);
  for (int64_t i = 0; i < elements(a); ++i) out[i] *= 1.01f;
  return ATTENTION_OK;
}
