// with_values: host functions of extern ops over the element types. 16-bit floats are read as float.
#pragma once
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/small_float.h"
#include "type/host_call.h"

namespace phlox {

// Calls f(const T*) with the tensor's elements.
template <class F>
void with_values(const HostTensor& t, F&& f) {
  switch (t.dtype) {
    case DType::boolean: case DType::u8: f(static_cast<const uint8_t*>(t.data)); return;
    case DType::i8: f(static_cast<const int8_t*>(t.data)); return;
    case DType::i16: f(static_cast<const int16_t*>(t.data)); return;
    case DType::i32: f(static_cast<const int32_t*>(t.data)); return;
    case DType::i64: f(static_cast<const int64_t*>(t.data)); return;
    case DType::f32: f(static_cast<const float*>(t.data)); return;
    case DType::f64: f(static_cast<const double*>(t.data)); return;
    case DType::f16: case DType::bf16: {
      std::vector<float> wide(static_cast<size_t>(t.numel()));
      const uint16_t* v = t.as<uint16_t>();
      for (size_t i = 0; i < wide.size(); ++i) wide[i] = t.dtype == DType::bf16 ? float_from_bf16(v[i]) : float_from_f16(v[i]);
      f(static_cast<const float*>(wide.data()));
      return;
    }
    default:
      fail(ErrorCode::not_implemented, {.op = "host op", .fact = "this dtype is not supported", .got = cat(t.dtype)});
  }
}

}  // namespace phlox
