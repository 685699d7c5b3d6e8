// Shared libraries that phlox uses when they are there and does without when they are not: CUDA's driver, its
// compiler, vendor kernels. They are opened at run time, never linked, so one binary runs on every machine.
//
// A library is opened once and stays open for the life of the process: code and handles from it may be
// anywhere. The search keeps a record of what was tried, because "not found" without the places is no answer.
#pragma once
#include <span>
#include <string>
#include <vector>

namespace phlox {

struct Library {
  void* handle = nullptr;
  std::string path;   // of the file that was opened, as the loader resolved it
  std::string tried;  // where it is null: one "name: why" per attempt, separated by "; "
  explicit operator bool() const { return handle != nullptr; }
  void* symbol(const char* name) const;  // null when the library does not have it
};

// Tries each name in each folder of `dirs`, in order, an empty folder being the loader's own search. The
// first that opens wins.
Library open_library(std::span<const char* const> names, std::span<const std::string> dirs);

// The file that open_library would try first in the folders named, links resolved, unopened; empty when there is none.
std::string find_library(std::span<const char* const> names, std::span<const std::string> dirs);

// Where CUDA's libraries may be: PHLOX_CUDA_PATH (folders separated by ':', each also taken as the root of a
// toolkit or of Python wheels), the loader's own search, CUDA_HOME, CUDA_PATH, and the toolkits under
// /usr/local, newest first. Only folders that exist are listed.
std::vector<std::string> cuda_library_dirs();

}  // namespace phlox
