#include "base/format.h"

#include <charconv>
#include <cmath>

namespace phlox {

void append_int(std::string& s, int64_t v) {
  char b[24];
  s.append(b, std::to_chars(b, b + sizeof b, v).ptr);
}

void append_uint(std::string& s, uint64_t v) {
  char b[24];
  s.append(b, std::to_chars(b, b + sizeof b, v).ptr);
}

void append_double(std::string& s, double v) {
  if (std::isnan(v)) s += "nan";
  else if (std::isinf(v)) s += v < 0 ? "-inf" : "inf";
  else {
    char b[40];
    s.append(b, std::to_chars(b, b + sizeof b, v).ptr);
  }
}

}  // namespace phlox
