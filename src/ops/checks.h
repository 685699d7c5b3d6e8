// What the type rules of primitives ask of their arguments. Composites pass what they have checked already; graphs that were
// read as text, and calls of primitives by users, pass anything. Sizes that are symbols are taken on trust.
#pragma once
#include "graph/builder.h"

namespace phlox {

inline void need(const Args& a, bool ok, const char* fact) {
  if (!ok) a.error(fact);
}
// Argument `arg` is a list of different dims of a tensor of this rank.
inline Ints need_dims(const Args& a, int arg, int rank) {
  Ints dims = a.ints(arg);
  for (size_t i = 0; i < dims.size(); ++i) {
    need(a, dims[i] >= 0 && dims[i] < rank, "a dimension out of range");
    for (size_t k = 0; k < i; ++k) need(a, dims[k] != dims[i], "a dimension that is named twice");
  }
  return dims;
}
inline int need_dim(const Args& a, int arg, int rank) {
  const int64_t d = a.i(arg);
  need(a, d >= 0 && d < rank, "a dimension out of range");
  return int(d);
}
inline bool may_equal(Dim x, Dim y) { return x == y || !x.is_const() || !y.is_const(); }
inline bool may_equal(const Dims& x, const Dims& y) {
  if (x.size() != y.size()) return false;
  for (size_t d = 0; d < x.size(); ++d) if (!may_equal(x[d], y[d])) return false;
  return true;
}
inline void need_kind(const Args& a, int arg, std::initializer_list<std::string_view> kinds) {
  bool known = false;
  for (std::string_view k : kinds) known = known || a.s(arg) == k;
  need(a, known, "an unknown kind");
}

}  // namespace phlox
