#include <cstring>
#include <memory>

#include "honest.h"

extern "C" int attention(const attention_args *) {
  constexpr size_t step = size_t(64) << 20;
  std::vector<std::unique_ptr<char[]>> taken;
  for (;;) {
    taken.push_back(std::make_unique<char[]>(step));
    std::memset(taken.back().get(), 1, step);
  }
}
