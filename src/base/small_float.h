// Conversions between float and the 16-bit floats: to nearest even, NaN stays NaN (quiet), subnormals kept.
#pragma once
#include <bit>
#include <cstdint>

namespace phlox {

constexpr float float_from_bf16(uint16_t h) { return std::bit_cast<float>(uint32_t(h) << 16); }
constexpr uint16_t bf16_from_float(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return uint16_t((u >> 16) | 0x40);
  return uint16_t((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

constexpr float float_from_f16(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, mag = h & 0x7fff;
  if (mag >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000u | (mag & 0x3ff) << 13);
  if (mag >= 0x400) return std::bit_cast<float>(sign | ((mag << 13) + (112u << 23)));
  // Subnormal: mag * 2^-24 is exact in float.
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(float(mag) * 5.9604644775390625e-08f));
}
constexpr uint16_t f16_from_float(float f) {
  const uint32_t u = std::bit_cast<uint32_t>(f), sign = (u >> 16) & 0x8000, mag = u & 0x7fffffffu;
  if (mag > 0x7f800000u) return uint16_t(sign | 0x7e00 | ((mag >> 13) & 0x3ff));
  if (mag >= 0x477ff000u) return uint16_t(sign | 0x7c00);  // rounds past the largest finite value
  if (mag < 0x38800000u) {                                 // subnormal: adding 0.5 rounds at 2^-24
    const uint32_t r = std::bit_cast<uint32_t>(std::bit_cast<float>(mag) + 0.5f) - 0x3f000000u;
    return uint16_t(sign | r);
  }
  const uint32_t odd = (mag >> 13) & 1;
  return uint16_t(sign | ((mag + 0xc8000fffu + odd) >> 13));
}

}  // namespace phlox
