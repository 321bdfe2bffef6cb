// Puts a function of one's own in place of another in every library that is loaded, but for this one: what a process
// calls through its linker's tables (the global offset table), it then calls here.
#pragma once
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#if defined(__aarch64__)
constexpr unsigned JUMP_SLOT = R_AARCH64_JUMP_SLOT, GLOB_DAT = R_AARCH64_GLOB_DAT;
#else
constexpr unsigned JUMP_SLOT = R_X86_64_JUMP_SLOT, GLOB_DAT = R_X86_64_GLOB_DAT;
#endif

struct hooking {
  const char *prefix;
  void *mine;
  int found;
};

inline bool holds(const dl_phdr_info *object, const void *address) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr) &part = object->dlpi_phdr[i];
    const uintptr_t begin = object->dlpi_addr + part.p_vaddr;
    if (part.p_type == PT_LOAD && at >= begin && at < begin + part.p_memsz) return true;
  }
  return false;
}

inline void replace_in(uintptr_t base, const ElfW(Rela) * entries, size_t bytes, const ElfW(Sym) * symbols,
                       const char *names, hooking *asked) {
  const long page = sysconf(_SC_PAGESIZE);
  for (size_t i = 0; i < bytes / sizeof(ElfW(Rela)); ++i) {
    const unsigned type = ELF64_R_TYPE(entries[i].r_info);
    const char *name = names + symbols[ELF64_R_SYM(entries[i].r_info)].st_name;
    if ((type != JUMP_SLOT && type != GLOB_DAT) || std::strncmp(name, asked->prefix, std::strlen(asked->prefix)))
      continue;
    const uintptr_t slot = base + entries[i].r_offset;
    mprotect(reinterpret_cast<void *>(slot & -page), page, PROT_READ | PROT_WRITE);
    *reinterpret_cast<void **>(slot) = asked->mine;
    ++asked->found;
  }
}

inline int replace(dl_phdr_info *object, size_t, void *argument) {
  hooking *asked = static_cast<hooking *>(argument);
  if (holds(object, asked->mine) || std::strstr(object->dlpi_name, "vdso")) return 0;
  const ElfW(Dyn) *entry = nullptr;
  for (int i = 0; i < object->dlpi_phnum; ++i)
    if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
      entry = reinterpret_cast<const ElfW(Dyn) *>(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
  uintptr_t of[DT_NUM] = {};
  for (; entry && entry->d_tag != DT_NULL; ++entry)
    if (entry->d_tag < DT_NUM) of[entry->d_tag] = entry->d_un.d_ptr;  // glibc has made addresses of them
  const auto *symbols = reinterpret_cast<const ElfW(Sym) *>(of[DT_SYMTAB]);
  const auto *names = reinterpret_cast<const char *>(of[DT_STRTAB]);
  if (!symbols || !names) return 0;
  const auto rela = [](uintptr_t at) { return reinterpret_cast<const ElfW(Rela) *>(at); };
  if (of[DT_JMPREL]) replace_in(object->dlpi_addr, rela(of[DT_JMPREL]), of[DT_PLTRELSZ], symbols, names, asked);
  if (of[DT_RELA]) replace_in(object->dlpi_addr, rela(of[DT_RELA]), of[DT_RELASZ], symbols, names, asked);
  return 0;
}

// Every function whose name begins with `prefix`; returns how many places were changed.
inline int hook(const char *prefix, void *mine) {
  hooking asked = {prefix, mine, 0};
  dl_iterate_phdr(replace, &asked);
  return asked.found;
}
