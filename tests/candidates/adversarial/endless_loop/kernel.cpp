#include "honest.h"

extern "C" int attention(const attention_args *) {
  for (volatile bool on = true; on;) {
  }
  return ATTENTION_OK;
}
