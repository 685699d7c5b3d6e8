#include "type/dtype.h"

#include <algorithm>

#include "base/error.h"

namespace phlox {

static constexpr DTypeInfo infos[dtype_count] = {
    {"bool", "bool", "BOOL", 1},          {"uint8", "u8", "U8", 1},         {"int8", "i8", "I8", 1},
    {"int16", "i16", "I16", 2},           {"int32", "i32", "I32", 4},       {"int64", "i64", "I64", 8},
    {"float16", "f16", "F16", 2},         {"bfloat16", "bf16", "BF16", 2},  {"float32", "f32", "F32", 4},
    {"float64", "f64", "F64", 8},         {"complex64", "c64", "C64", 8},   {"complex128", "c128", nullptr, 16},
    {"float8_e4m3fn", "f8e4m3", "F8_E4M3", 1}, {"float8_e5m2", "f8e5m2", "F8_E5M2", 1},
    {"uint16", "u16", "U16", 2},          {"uint32", "u32", "U32", 4},      {"uint64", "u64", "U64", 8},
};
const DTypeInfo& dtype_info(DType d) { return infos[int(d)]; }

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (is_complex(a) || is_complex(b)) {
    const DType r = promote(real_dtype(a), real_dtype(b));
    return r == DType::f64 ? DType::c128 : DType::c64;
  }
  if (is_float(a) && is_float(b)) {
    if (dtype_bytes(a) == dtype_bytes(b)) return DType::f32;  // f16 with bf16, or two fp8 kinds
    return dtype_bytes(a) > dtype_bytes(b) ? a : b;
  }
  if (is_float(a)) return a;
  if (is_float(b)) return b;
  if (is_bool(a)) return b;
  if (is_bool(b)) return a;
  const bool ua = is_unsigned(a), ub = is_unsigned(b);
  if (ua == ub) return dtype_bytes(a) > dtype_bytes(b) ? a : b;
  const DType u = ua ? a : b, s = ua ? b : a;
  if (dtype_bytes(s) > dtype_bytes(u)) return s;
  if (u == DType::u8) return DType::i16;  // u8 with i8
  fail(ErrorCode::invalid_argument, {.op = "promote", .fact = "no integer type holds both",
                                     .got = cat(a, " and ", b), .remedy = "cast one of them first"});
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (int i = 0; i < dtype_count; ++i)
    if (name == infos[i].name || name == infos[i].short_name) return DType(i);
  if (name == "float") return DType::f32;
  if (name == "double") return DType::f64;
  if (name == "half") return DType::f16;
  if (name == "long") return DType::i64;
  if (name == "int") return DType::i32;
  if (name == "short") return DType::i16;
  if (name == "cfloat") return DType::c64;
  if (name == "cdouble") return DType::c128;
  return std::nullopt;
}

void append(std::string& s, DType d) { s += infos[int(d)].short_name; }

}  // namespace phlox
