// Hashes: a fast 64-bit one for in-memory tables and a 256-bit one for names of things on disk (cache keys,
// checksums). The 256-bit hash finds accidents and stale entries; who may write a file is the file system's matter.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace phlox {

inline uint64_t mix64(uint64_t x) {
  x ^= x >> 32; x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32; x *= 0xd6e8feb86659fd93ULL;
  return x ^ (x >> 32);
}
inline uint64_t combine(uint64_t h, uint64_t v) { return mix64(h * 0x9e3779b97f4a7c15ULL + v + 0x165667b19e3779f9ULL); }
uint64_t hash_bytes(const void* data, size_t n, uint64_t seed = 0);
inline uint64_t hash_text(std::string_view s, uint64_t seed = 0) { return hash_bytes(s.data(), s.size(), seed); }

using Hash256 = std::array<uint64_t, 4>;
Hash256 hash256(const void* data, size_t n);
std::string hex(const Hash256&);  // 64 lower-case digits

}  // namespace phlox
