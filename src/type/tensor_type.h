// TensorType: what is known of a tensor before it exists. A plain value: hashable, printable, comparable.
//   f32[8,s0]          contiguous
//   f32[8,s0]{s0,1}    with explicit strides in elements
//   f32[8,s0]@cuda     on another device kind
// Encodings and shardings join as fields when they come; a quantised tensor is not a subclass.
#pragma once
#include <string>

#include "base/hash.h"
#include "type/dim.h"
#include "type/dtype.h"
#include "type/target.h"

namespace phlox {

struct TensorType {
  DType dtype = DType::f32;
  DeviceKind device = DeviceKind::cpu;
  bool weak = false;  // a number that was wrapped: it takes part in type promotion with lowest standing
  Dims shape;
  Dims strides;  // empty: contiguous (row-major)

  int rank() const { return int(shape.size()); }
  Dim numel() const { return product(shape); }
  friend bool operator==(const TensorType& a, const TensorType& b) = default;
};

Dims contiguous_strides(const Dims& shape);
inline Dims strides_of(const TensorType& t) { return t.strides.empty() ? contiguous_strides(t.shape) : t.strides; }
uint64_t hash_of(const TensorType& t);
void append(std::string& s, const TensorType& t);
TensorType parse_tensor_type(const char*& p);
std::string shape_text(std::span<const Dim> shape);  // "[2,3]"

}  // namespace phlox
