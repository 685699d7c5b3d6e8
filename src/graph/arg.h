// Arg: one argument of an op call. It mirrors the ABI's 16-byte slot; a tensor is a Value of the graph here and a
// handle there. Lists and strings point into storage that the holder keeps (a Graph's arena, the caller's stack).
#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "type/dim.h"
#include "type/dtype.h"

namespace phlox {

enum class ArgKind : uint8_t {
  none, value, boolean, dim, real, complex, string, dtype, device, layout, memory_format, generator, list,
};

struct Arg {
  ArgKind kind = ArgKind::none;
  uint8_t extra = 0;   // device: index
  uint32_t count = 0;  // list, string: length
  union {
    uint64_t bits = 0;
    uint32_t value;        // ValueId in a graph
    int64_t dim;           // raw Dim
    double real;
    const double* complex; // re, im
    const char* string;
    const Arg* list;
  };

  static Arg of_value(uint32_t v) { Arg a; a.kind = ArgKind::value; a.value = v; return a; }
  static Arg of_bool(bool v) { Arg a; a.kind = ArgKind::boolean; a.bits = v; return a; }
  static Arg of_dim(Dim v) { Arg a; a.kind = ArgKind::dim; a.dim = v.raw(); return a; }
  static Arg of_real(double v) { Arg a; a.kind = ArgKind::real; a.real = v; return a; }
  static Arg of_dtype(DType d) { Arg a; a.kind = ArgKind::dtype; a.bits = uint64_t(d); return a; }
  static Arg of_string(std::string_view s) {
    Arg a; a.kind = ArgKind::string; a.count = uint32_t(s.size()); a.string = s.data(); return a;
  }
  static Arg of_list(std::span<const Arg> l) {
    Arg a; a.kind = ArgKind::list; a.count = uint32_t(l.size()); a.list = l.data(); return a;
  }
  bool is_none() const { return kind == ArgKind::none; }
  Dim as_dim() const { return Dim::from_raw(dim); }
  DType as_dtype() const { return DType(bits); }
  std::string_view as_string() const { return {string, count}; }
  std::span<const Arg> items() const { return {list, count}; }
};
static_assert(sizeof(Arg) == 16);

// Calls f(Arg&) on every tensor argument, also those inside lists.
template <class A, class F>
void for_each_value(std::span<A> args, F&& f) {
  for (A& a : args) {
    if (a.kind == ArgKind::value) f(a);
    else if (a.kind == ArgKind::list) for_each_value(std::span<const Arg>(a.items()), f);
  }
}

bool same_args(std::span<const Arg> a, std::span<const Arg> b);
uint64_t hash_args(std::span<const Arg> args);

}  // namespace phlox
