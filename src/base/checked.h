// Checked arithmetic on sizes, offsets and byte counts: overflow is an error of the op that asked, never a wrap.
#pragma once
#include <cstdint>
#include <optional>

#include "base/error.h"

namespace phlox {

inline std::optional<int64_t> try_mul(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<int64_t> try_add(int64_t a, int64_t b) {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
[[noreturn]] void size_overflow(const char* what, int64_t a, int64_t b);

inline int64_t checked_mul(int64_t a, int64_t b, const char* what = "size") {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) [[unlikely]] size_overflow(what, a, b);
  return r;
}
inline int64_t checked_add(int64_t a, int64_t b, const char* what = "size") {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) [[unlikely]] size_overflow(what, a, b);
  return r;
}

}  // namespace phlox
