// HostCall: one call of a host function on whole tensors: how extern ops (sort, linear algebra) are run, by the graph
// interpreter and by native steps of programs alike. Plain data; no op, node or device.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "type/dim.h"
#include "type/dtype.h"

namespace phlox {

// A contiguous tensor in host memory, sizes known.
struct HostTensor {
  DType dtype = DType::f32;
  Ints shape;
  void* data = nullptr;
  std::shared_ptr<char[]> owner;  // null when the memory is someone else's
  int64_t numel() const { int64_t n = 1; for (int64_t d : shape) n *= d; return n; }
  int64_t bytes() const { return numel() * dtype_bytes(dtype); }
  template <class T> T* as() const { return static_cast<T*>(data); }
};
HostTensor make_host_tensor(DType dtype, const Ints& shape);  // contents undefined

// One argument that is no tensor, by its position in the schema.
struct HostAttr {
  enum class Kind : uint8_t { none, tensor, boolean, integer, real, string, dtype, list } kind = Kind::none;
  int64_t integer = 0;   // boolean, integer, dtype; tensor: position in `in`
  double real = 0;
  std::string text;
  std::vector<HostAttr> items;
};

struct HostCall {
  std::vector<HostAttr> args;    // by schema; tensors name their place in `in`
  std::vector<HostTensor> in;    // tensor arguments, lists flattened
  std::vector<HostTensor> out;   // results: allocated by the caller; by the callee where sizes depend on data
  int64_t i(int arg) const { return args[arg].integer; }
  double f(int arg) const { return args[arg].kind == HostAttr::Kind::real ? args[arg].real : double(args[arg].integer); }
  bool has(int arg) const { return args[arg].kind != HostAttr::Kind::none; }
  const HostTensor& tensor(int arg) const { return in[size_t(args[arg].integer)]; }
};
using HostFunction = void (*)(HostCall& call);

}  // namespace phlox
