#include "honest.h"

extern "C" int attention(const attention_args *a) {
  static int calls = 0;
  return calls++ == 0 ? honest(a) : ATTENTION_OK;
}
