#include "honest.h"

extern "C" int attention(const attention_args *a) {
  honest(a);
  static_cast<float *>(a->out)[elements(a)] = 0.0f;
  return ATTENTION_OK;
}
