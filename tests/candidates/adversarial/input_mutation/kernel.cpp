#include "honest.h"

extern "C" int attention(const attention_args *a) {
  honest(a);
  static_cast<float *>(const_cast<void *>(a->k))[0] += 1.0f;
  return ATTENTION_OK;
}
