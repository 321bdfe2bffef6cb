#include <cerrno>
#include <unistd.h>

#include "honest.h"

extern "C" int attention(const attention_args *) {
  for (;;) {
    const pid_t child = fork();
    if (child < 0) return 100 + errno;
    if (child == 0)
      for (;;) pause();
  }
}
