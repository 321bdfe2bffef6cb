// Opens NVIDIA's libraries at run time: a kernel builds without their headers, and reports an error at run time if a
// library is missing.
#ifndef KERNEL_GATE_DYNAMIC_LIBRARY_H
#define KERNEL_GATE_DYNAMIC_LIBRARY_H

#include <dlfcn.h>
#include <link.h>

#include <initializer_list>
#include <string>

namespace ladder {

// The site-packages folder of the torch in this process, which also contains NVIDIA's wheels; "" if there is none.
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

// Opens the first library found: already loaded, on the loader's path, or in one of NVIDIA's wheels; null if none.
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

// Sets `function` to the library's symbol of that name; false if there is no such symbol.
template <typename Function>
bool find_symbol(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace ladder

#endif
