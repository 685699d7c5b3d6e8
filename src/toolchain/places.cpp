#include "toolchain/places.h"

#include <dlfcn.h>
#include <unistd.h>

#include "base/format.h"

namespace phlox {

std::vector<std::string> shipped_file_places(std::string_view name) {
  Dl_info info;
  if (!::dladdr(reinterpret_cast<void*>(&shipped_file_places), &info) || !info.dli_fname) return {};
  std::string own = info.dli_fname;
  if (!own.starts_with("/")) {  // an executable's name may be relative to where it was started
    char real[4096];
    const ssize_t n = ::readlink("/proc/self/exe", real, sizeof real);
    if (n <= 0 || size_t(n) >= sizeof real) return {};
    own.assign(real, size_t(n));
  }
  const std::string folder = own.substr(0, own.rfind('/'));
  std::vector<std::string> r;
  for (const char* place : {"", "/lib", "/../lib"}) r.push_back(cat(folder, place, "/", name));
  return r;
}

}  // namespace phlox
