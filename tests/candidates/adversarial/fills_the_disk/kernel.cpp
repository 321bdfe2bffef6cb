#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "honest.h"

extern "C" int attention(const attention_args *) {
  static char megabyte[1 << 20];
  const char *folder = std::getenv("TMPDIR");
  const int descriptor = open(folder ? folder : "/tmp", O_TMPFILE | O_RDWR, 0600);
  std::FILE *file = fdopen(descriptor, "w+");
  while (file && std::fwrite(megabyte, sizeof megabyte, 1, file) == 1) {
  }
  return 100 + errno;
}
