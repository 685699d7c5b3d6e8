// CodeArena: executable memory for images. Each segment is one memory file mapped twice, writable and
// executable, so no page is ever both and loading is a copy. Images share pages; a module gives its bytes
// back when it dies.
//
// Invariants: an image lies 64-byte aligned and is complete before any entry address is handed out; bytes of
// a living module never change. The mappings are shared with children of fork(): neither side reuses what
// both can see in use. Refuses: images whose entries or import cells lie outside their bytes, and imports
// other than memset, memcpy and memmove.
#pragma once
#include <cstdint>

#include "device/device.h"

namespace phlox {

class CodeArena {
 public:
  static CodeArena& host();

  // Throws Error(bad_file) for an inconsistent image, Error(device) when the system refuses executable
  // memory.
  Ref<Module> load(const Image& image);

  struct Stats {
    int64_t used_bytes, mapped_bytes, modules;
  };
  Stats stats() const;

  CodeArena(const CodeArena&) = delete;
  CodeArena& operator=(const CodeArena&) = delete;

 private:
  template <class T>
  friend T& root_object();
  friend class CodeModule;
  CodeArena();
  ~CodeArena() = delete;
  struct State;
  State* state_;
};

}  // namespace phlox
