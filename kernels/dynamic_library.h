// Opens NVIDIA's libraries at run time, so that a rung builds where their headers are absent and says so where the
// library is.
#ifndef KERNEL_GATE_DYNAMIC_LIBRARY_H
#define KERNEL_GATE_DYNAMIC_LIBRARY_H

#include <dlfcn.h>
#include <link.h>

#include <initializer_list>
#include <string>

namespace ladder {

// The folder that holds the torch that this process has loaded, and so the wheels that torch asked for; or "".
inline std::string packages_of_torch() {
  std::string found;
  dl_iterate_phdr(
      [](dl_phdr_info* object, size_t, void* result) {
        const std::string path = object->dlpi_name ? object->dlpi_name : "";
        const size_t end = path.rfind("/torch/lib/");
        if (end == std::string::npos) return 0;
        *static_cast<std::string*>(result) = path.substr(0, end);
        return 1;
      },
      &found);
  return found;
}

// One of the names, in the order given: loaded already, on the loader's path, or in a wheel beside torch; else null.
inline void* open_library(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (void* loaded = dlopen(name, RTLD_NOW | RTLD_NOLOAD)) return loaded;
  for (const char* name : names)
    if (void* opened = dlopen(name, RTLD_NOW)) return opened;
  const std::string packages = packages_of_torch();
  for (const char* folder : {"/nvidia/cu13/lib/", "/nvidia/cublas/lib/", "/cutensor/lib/"})
    for (const char* name : names)
      if (void* opened = dlopen((packages + folder + name).c_str(), RTLD_NOW)) return opened;
  return nullptr;
}

// Sets `function` to the library's symbol of that name; false where it has none.
template <typename Function>
bool find_symbol(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace ladder

#endif
