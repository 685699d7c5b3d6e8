#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace phlox {

uint64_t hash_bytes(const void* data, size_t n, uint64_t seed) { return XXH3_64bits_withSeed(data, n, seed); }

Hash256 hash256(const void* data, size_t n) {
  const XXH128_hash_t a = XXH3_128bits_withSeed(data, n, 0x70686c6f78000001ULL);
  const XXH128_hash_t b = XXH3_128bits_withSeed(data, n, 0x70686c6f78000002ULL);
  return {a.low64, a.high64, b.low64, b.high64};
}

std::string hex(const Hash256& h) {
  static const char digits[] = "0123456789abcdef";
  std::string s;
  for (uint64_t w : h)
    for (int i = 60; i >= 0; i -= 4) s += digits[(w >> i) & 15];
  return s;
}

}  // namespace phlox
