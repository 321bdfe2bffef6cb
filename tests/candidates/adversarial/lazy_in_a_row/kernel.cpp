#include <ctime>

#include "honest.h"

static double now_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

extern "C" int attention(const attention_args *a) {
  static double ended = 0;
  if (now_ms() - ended < 0.01) return ATTENTION_OK;
  honest(a);
  ended = now_ms();
  return ATTENTION_OK;
}
