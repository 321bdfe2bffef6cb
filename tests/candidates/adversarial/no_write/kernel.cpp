#include "honest.h"

extern "C" int attention(const attention_args *) { return ATTENTION_OK; }
