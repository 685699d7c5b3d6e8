// Philox4x32-10: the counter-based random generator (Salmon et al., SC'11) behind every random op. A block of
// four words is a pure function of a 128-bit counter and a 64-bit key, so any element's number can be
// computed anywhere, in any order. Invariant: the published known answers, checked in tests; the bits are
// part of a program's numerics. Refuses: state. Who owns (seed, offset) and how elements map to counters is
// the random ops' matter.
#pragma once
#include <array>
#include <cstdint>

namespace phlox {

using PhiloxCounter = std::array<uint32_t, 4>;
using PhiloxKey = std::array<uint32_t, 2>;

namespace philox_detail {
constexpr PhiloxCounter round(PhiloxCounter c, PhiloxKey k) {
  const uint64_t a = uint64_t(0xD2511F53u) * c[0], b = uint64_t(0xCD9E8D57u) * c[2];
  return {uint32_t(b >> 32) ^ c[1] ^ k[0], uint32_t(b), uint32_t(a >> 32) ^ c[3] ^ k[1], uint32_t(a)};
}
}  // namespace philox_detail

constexpr PhiloxCounter philox4x32_10(PhiloxCounter counter, PhiloxKey key) {
  for (int i = 0; i < 10; ++i) {
    counter = philox_detail::round(counter, key);
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};  // Weyl steps: golden ratio and sqrt(3) - 1
  }
  return counter;
}

// The block number `index` of the stream `stream` of a seed, little-endian words: key = seed,
// counter = (index low, index high, stream low, stream high).
constexpr PhiloxCounter philox_block(uint64_t seed, uint64_t stream, uint64_t index) {
  return philox4x32_10({uint32_t(index), uint32_t(index >> 32), uint32_t(stream), uint32_t(stream >> 32)},
                       {uint32_t(seed), uint32_t(seed >> 32)});
}

}  // namespace phlox
