#include "type/tensor_type.h"

#include "base/error.h"

namespace phlox {

Dims contiguous_strides(const Dims& shape) {
  Dims s(shape.size());
  Dim step = 1;
  for (int i = int(shape.size()) - 1; i >= 0; --i) {
    s[i] = step;
    step = step * shape[i];
  }
  return s;
}

uint64_t hash_of(const TensorType& t) {
  uint64_t h = combine(uint64_t(t.dtype) | uint64_t(t.device) << 8 | uint64_t(t.weak) << 16, t.shape.size());
  for (Dim d : t.shape) h = combine(h, uint64_t(d.raw()));
  for (Dim d : t.strides) h = combine(h, uint64_t(d.raw()));
  return h;
}

std::string shape_text(std::span<const Dim> shape) { return cat("[", join(shape, ","), "]"); }

void append(std::string& s, const TensorType& t) {
  append(s, t.dtype);
  if (t.weak) s += "?";
  s += shape_text(t.shape);
  if (!t.strides.empty()) s += cat("{", join(t.strides, ","), "}");
  if (t.device != DeviceKind::cpu) s += cat("@", device_kind_name(t.device));
}

static Dims parse_list(const char*& p, char close) {
  Dims d;
  ++p;
  if (*p == close) { ++p; return d; }
  for (;;) {
    d.push_back(parse_dim(p));
    if (*p == ',') { ++p; continue; }
    if (*p == close) { ++p; return d; }
    fail(ErrorCode::invalid_argument, {.op = "parse", .fact = "bad tensor type", .got = std::string(p).substr(0, 16),
                                       .expected = cat("',' or '", close, "'")});
  }
}

TensorType parse_tensor_type(const char*& p) {
  const char* q = p;
  while ((*q >= 'a' && *q <= 'z') || (*q >= '0' && *q <= '9')) ++q;
  const auto dtype = parse_dtype(std::string_view(p, size_t(q - p)));
  TensorType t;
  if (dtype) { t.dtype = *dtype; p = q; }
  if (dtype && *p == '?') { t.weak = true; ++p; }
  if (!dtype || *p != '[')
    fail(ErrorCode::invalid_argument, {.op = "parse", .fact = "bad tensor type", .got = std::string(p).substr(0, 16),
                                       .expected = "a type like f32[2,s0]"});
  t.shape = parse_list(p, ']');
  if (*p == '{') t.strides = parse_list(p, '}');
  if (std::string_view(p).substr(0, 5) == "@cuda") { t.device = DeviceKind::cuda; p += 5; }
  return t;
}

}  // namespace phlox
