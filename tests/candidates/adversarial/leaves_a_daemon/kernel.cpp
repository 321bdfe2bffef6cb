#include <unistd.h>

#include "honest.h"

extern "C" int attention(const attention_args *a) {
  static bool left = false;
  if (!left && (left = true) && fork() == 0) {
    setsid();
    if (fork() == 0) execlp("sleep", "sleep", "987654", nullptr);
    _exit(0);
  }
  return honest(a);
}
