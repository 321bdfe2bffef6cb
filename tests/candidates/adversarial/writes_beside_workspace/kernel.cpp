#define OWN_WORKSPACE
#include "honest.h"

extern "C" size_t attention_workspace_bytes(const attention_args *) { return 64; }

extern "C" int attention(const attention_args *a) {
  static_cast<unsigned char *>(a->workspace)[64] ^= 0xff;
  return honest(a);
}
