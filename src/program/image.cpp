#include "program/image.h"

#include <cstring>

#include "base/format.h"

namespace phlox {

void* import_address(std::string_view name) {
  if (name == "memset") return reinterpret_cast<void*>(&std::memset);
  if (name == "memcpy") return reinterpret_cast<void*>(&std::memcpy);
  if (name == "memmove") return reinterpret_cast<void*>(&std::memmove);
  return nullptr;
}

std::string image_fault(const Image& image) {
  const uint64_t size = image.bytes.size();
  if (size == 0) return "no code";
  if (image.entries.empty()) return "no entries";
  for (const Image::Entry& e : image.entries) {
    if (e.name.empty()) return "an entry without a name";
    if (e.offset >= size) return cat("entry '", e.name, "' lies outside the code");
  }
  for (const Image::Import& i : image.imports) {
    if (!import_address(i.name)) return cat("import '", i.name, "' is not offered to kernels");
    if (i.slot % 8 || size < 8 || i.slot > size - 8)
      return cat("the slot of import '", i.name, "' lies outside the code");
  }
  return {};
}

}  // namespace phlox
