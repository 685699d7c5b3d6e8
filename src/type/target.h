// Target: what a program is compiled for, as plain data. The compiler is a pure function of it, so a program
// for another machine can be made and tested here. `native` values are resolved before anything is hashed.
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
  int64_t l1_bytes = 32 << 10, l2_bytes = 512 << 10,
          l3_bytes = 8 << 20;                // cuda: l1 is a multiprocessor's shared memory
  int64_t shared_bytes = 0;                  // cuda: shared memory that one block may have
  bool has(std::string_view feature) const;  // has("avx512f"): listed, or implied by the level in `arch`
};

// This machine, looked at afresh. PHLOX_CPU=v3|v4 narrows it to exactly that level; asking for more than the
// machine has is Error(invalid_argument). AMX is listed only if the kernel grants this process its state.
Target host_target();
// The level of x86-64 whose features a cpu target has all of: 1 to 4, or 0 for other machines.
int cpu_level(const Target&);
// Canonical one-line texts for cache keys: everything, and only what code generation sees (kernel text is
// written out for a team and cache sizes already, so images do not depend on those).
std::string target_text(const Target&);
std::string code_target_text(const Target&);
const char* device_kind_name(DeviceKind);

}  // namespace phlox
