#include "honest.h"

extern "C" int attend(const attention_args *a) { return honest(a); }
