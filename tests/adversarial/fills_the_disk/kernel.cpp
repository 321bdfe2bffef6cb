#include <cerrno>
#include <cstdio>

#include "honest.h"

extern "C" int attention(const attention_args *) {
  static char megabyte[1 << 20];
  std::FILE *file = std::tmpfile();
  while (file && std::fwrite(megabyte, sizeof megabyte, 1, file) == 1) {
  }
  return 100 + errno;
}
