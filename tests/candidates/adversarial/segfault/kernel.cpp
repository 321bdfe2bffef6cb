#include "honest.h"

extern "C" int attention(const attention_args *) { return *reinterpret_cast<volatile int *>(8); }
