#include "base/library.h"

#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/format.h"

namespace phlox {

void* Library::symbol(const char* name) const { return handle ? ::dlsym(handle, name) : nullptr; }

static std::string resolved_path(void* handle, const std::string& asked) {
  const link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && *map->l_name) return map->l_name;
  return asked;
}

Library open_library(std::span<const char* const> names, std::span<const std::string> dirs) {
  Library library;
  for (const std::string& dir : dirs) {
    for (const char* name : names) {
      const std::string path = dir.empty() ? name : cat(dir, "/", name);
      struct stat info;
      // A folder that lacks the file is no news; the loader's own search must be asked.
      if (!dir.empty() && ::stat(path.c_str(), &info) != 0) continue;
      if (void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
        library.handle = handle;
        library.path = resolved_path(handle, path);
        library.tried.clear();
        return library;
      }
      const char* why = ::dlerror();  // begins with the path
      if (!library.tried.empty()) library.tried += "; ";
      library.tried += why ? std::string(why) : cat(path, ": unknown error");
    }
  }
  if (library.tried.empty())
    library.tried = cat("no file named ", names.empty() ? "" : names[0], " in ", join(dirs));
  return library;
}

std::string find_library(std::span<const char* const> names, std::span<const std::string> dirs) {
  for (const std::string& dir : dirs) {
    for (const char* name : names) {
      if (dir.empty()) continue;
      char file[PATH_MAX];
      if (::realpath(cat(dir, "/", name).c_str(), file)) return file;
    }
  }
  return {};
}

static bool is_folder(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

static std::vector<std::string> children(const std::string& dir) {
  std::vector<std::string> names;
  if (DIR* d = ::opendir(dir.c_str())) {
    while (const dirent* entry = ::readdir(d))
      if (entry->d_name[0] != '.') names.push_back(entry->d_name);
    ::closedir(d);
  }
  std::sort(names.begin(), names.end());
  return names;
}

static void add(std::vector<std::string>& dirs, const std::string& dir) {
  if (is_folder(dir) && std::find(dirs.begin(), dirs.end(), dir) == dirs.end()) dirs.push_back(dir);
}

static void add_toolkit(std::vector<std::string>& dirs, const std::string& root) {
  add(dirs, cat(root, "/lib64"));
  add(dirs, cat(root, "/lib"));
}

// "cuda-13.0" as a number that sorts by version; 0 when the name is no toolkit.
static int toolkit_version(const std::string& name) {
  if (name.compare(0, 5, "cuda-") != 0) return 0;
  unsigned major = 0, minor = 0;
  const char* const end = name.data() + name.size();
  const auto r = std::from_chars(name.data() + 5, end, major);
  if (r.ptr != end && *r.ptr == '.') std::from_chars(r.ptr + 1, end, minor);
  return int(std::min(major, 999u) * 1000 + std::min(minor, 999u));
}

std::vector<std::string> cuda_library_dirs() {
  std::vector<std::string> dirs;
  const char* own = std::getenv("PHLOX_CUDA_PATH");
  for (std::string list = own ? own : ""; !list.empty();) {
    const size_t colon = list.find(':');
    const std::string dir = list.substr(0, colon);
    list = colon == std::string::npos ? std::string() : list.substr(colon + 1);
    if (dir.empty()) continue;
    add(dirs, dir);
    add_toolkit(dirs, dir);
    // Python wheels unpack to <site-packages>/nvidia/<component>/lib.
    for (const std::string& root : {dir, cat(dir, "/nvidia")})
      for (const std::string& component : children(root)) add(dirs, cat(root, "/", component, "/lib"));
  }
  dirs.push_back(std::string());
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* root = std::getenv(variable); root && *root) add_toolkit(dirs, root);
  add_toolkit(dirs, "/usr/local/cuda");
  std::vector<std::string> toolkits;
  for (const std::string& name : children("/usr/local"))
    if (toolkit_version(name)) toolkits.push_back(name);
  std::sort(toolkits.begin(), toolkits.end(), [](const std::string& a, const std::string& b) {
    return toolkit_version(a) > toolkit_version(b);
  });
  for (const std::string& name : toolkits) add_toolkit(dirs, cat("/usr/local/", name));
  return dirs;
}

}  // namespace phlox
