// Doctor: what phlox found on this machine and why it did not find the rest, for people and as JSON.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"

namespace phlox {

struct Doctor {
  std::string version, abi;
  int64_t ops = 0;

  std::string cpu_level;
  std::vector<std::string> cpu_features;
  int vector_bits = 0, threads = 0;
  int64_t l1_bytes = 0, l2_bytes = 0, l3_bytes = 0;

  std::string plugin_path, plugin_fingerprint, plugin_problem;  // problem: why it cannot be used
  double plugin_load_ms = 0;
  std::string compiler;                                         // the one in use; empty: none, kernels are interpreted

  std::string cache_folder, cache_mode;
  int64_t cache_limit = 0;

  std::string cuda_problem;  // empty when there are devices
  std::vector<std::string> cuda_archs;
  struct Library { std::string name, path, version, problem; };
  std::vector<Library> libraries;

  struct Memory { std::string device; int64_t allocated, reserved, peak; };
  std::vector<Memory> memory;
  int64_t memory_limit = 0;
};

Doctor examine();  // opens libraries; takes some milliseconds
void write_json(JsonWriter& w, const Doctor& d);
std::string doctor_text(const Doctor& d);

}  // namespace phlox
