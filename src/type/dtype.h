// DType: the element types. Order is part of the stable ABI (phlox.h repeats the numbers); only append.
// Complex and fp8 have numbers, sizes and names from the start; ops accept them as they learn to.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace phlox {

enum class DType : uint8_t {
  boolean, u8, i8, i16, i32, i64, f16, bf16, f32, f64, c64, c128, f8e4m3, f8e5m2, u16, u32, u64,
};
constexpr int dtype_count = 17;

struct DTypeInfo {
  const char* name;         // PyTorch's name: "float32"
  const char* short_name;   // in printed types: "f32"
  const char* safetensors;  // "F32"; null when the format has no such type
  uint8_t bytes;
};
const DTypeInfo& dtype_info(DType);

constexpr int64_t dtype_bytes(DType d) {
  constexpr uint8_t bytes[dtype_count] = {1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16, 1, 1, 2, 4, 8};
  return bytes[int(d)];
}
constexpr bool is_float(DType d) {
  return (d >= DType::f16 && d <= DType::f64) || d == DType::f8e4m3 || d == DType::f8e5m2;
}
constexpr bool is_complex(DType d) { return d == DType::c64 || d == DType::c128; }
constexpr bool is_bool(DType d) { return d == DType::boolean; }
constexpr bool is_unsigned(DType d) { return d == DType::u8 || d >= DType::u16; }
// bool is not an integer here, as in torch's is_integral(include_bool=False).
constexpr bool is_int(DType d) { return (d >= DType::u8 && d <= DType::i64) || d >= DType::u16; }
constexpr bool is_signed_int(DType d) { return d >= DType::i8 && d <= DType::i64; }
// 16-bit and smaller floats compute in f32.
constexpr bool is_reduced_float(DType d) { return is_float(d) && d != DType::f32 && d != DType::f64; }
constexpr DType compute_dtype(DType d) { return is_reduced_float(d) ? DType::f32 : d; }
constexpr DType real_dtype(DType d) { return d == DType::c64 ? DType::f32 : d == DType::c128 ? DType::f64 : d; }

// PyTorch's promotion lattice for two dtypes of equal standing (both from dimensioned tensors).
DType promote(DType a, DType b);

std::optional<DType> parse_dtype(std::string_view name);  // accepts the long and the short name
void append(std::string& s, DType d);                     // the short name

}  // namespace phlox
