// Target: what a program is compiled for, as plain data. The compiler is a pure function of it, so a program for
// another machine can be made and tested here. `native` values are resolved before anything is hashed.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace phlox {

enum class DeviceKind : uint8_t { cpu, cuda };

struct Target {
  DeviceKind kind = DeviceKind::cpu;
  std::string arch;                   // cpu: "x86-64-v3", "x86-64-v4" or a clang -mcpu name; cuda: "sm_90a"
  std::vector<std::string> features;  // cpu: sorted clang feature names with sign, "+avx512f"
  int vector_bits = 256;              // cpu: widest vector that kernels use
  int threads = 1;                    // cpu: size of the team; cuda: multiprocessors
  int64_t l1_bytes = 32 << 10, l2_bytes = 512 << 10, l3_bytes = 8 << 20;
  bool has(std::string_view feature) const;  // has("avx512f")
};

Target host_target();                // this machine; PHLOX_CPU=v3|v4 narrows it
std::string target_text(const Target&);  // canonical one-line text: part of every cache key
const char* device_kind_name(DeviceKind);

}  // namespace phlox
