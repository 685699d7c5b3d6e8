// cat: builds text from parts. Our own few lines because <format> is absent from the oldest compiler we support and
// a formatting header in every translation unit costs more than the whole of base.
// A type joins by providing `void append(std::string&, const T&)` found by argument-dependent lookup.
#pragma once
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace phlox {

void append_int(std::string& s, int64_t v);
void append_uint(std::string& s, uint64_t v);
void append_double(std::string& s, double v);  // shortest text that reads back to the same double; inf, -inf, nan

template <class T>
void append_part(std::string& s, const T& v) {
  if constexpr (std::same_as<T, bool>) s += v ? "true" : "false";
  else if constexpr (std::same_as<T, char>) s += v;
  else if constexpr (std::signed_integral<T>) append_int(s, v);
  else if constexpr (std::unsigned_integral<T>) append_uint(s, v);
  else if constexpr (std::floating_point<T>) append_double(s, double(v));
  else if constexpr (std::convertible_to<const T&, std::string_view>) s += std::string_view(v);
  else append(s, v);
}

template <class... P>
std::string cat(const P&... parts) {
  std::string s;
  (append_part(s, parts), ...);
  return s;
}

// "a, b, c" over a range of appendable values.
template <class R>
std::string join(const R& range, std::string_view separator = ", ") {
  std::string s;
  bool first = true;
  for (const auto& v : range) {
    if (!first) s += separator;
    first = false;
    append_part(s, v);
  }
  return s;
}

}  // namespace phlox
