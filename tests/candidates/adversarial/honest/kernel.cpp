#include "honest.h"

extern "C" int attention(const attention_args *a) { return honest(a); }
