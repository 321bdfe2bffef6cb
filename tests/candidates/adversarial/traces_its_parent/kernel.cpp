#include <cerrno>
#include <sys/ptrace.h>
#include <unistd.h>

#include "honest.h"

extern "C" int attention(const attention_args *a) {
  return ptrace(PTRACE_SEIZE, getppid(), nullptr, nullptr) ? 100 + errno : honest(a);
}
