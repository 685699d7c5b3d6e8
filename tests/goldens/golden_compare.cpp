// The rules by which a result counts as PyTorch's: see compare_golden.
#include <cmath>
#include <cstring>

#include "base/format.h"
#include "base/small_float.h"
#include "golden_case.h"
#include "type/tensor_type.h"

namespace phlox {

namespace {

struct Tolerance { double rtol, atol; };

Tolerance tolerance_of(DType d) {
  switch (d) {
    case DType::f32: case DType::c64: return {1.3e-6, 1e-5};
    case DType::f64: case DType::c128: return {1e-7, 1e-7};
    case DType::f16: return {1e-3, 1e-5};
    case DType::bf16: return {1.6e-2, 1e-5};
    default: return {0, 0};
  }
}

template <class T>
T read(const HostTensor& t, int64_t i) {
  T v;
  std::memcpy(&v, static_cast<const char*>(t.data) + i * int64_t(sizeof(T)), sizeof(T));
  return v;
}

// Element i of a floating tensor; complex ones are read as real pairs.
double real_at(const HostTensor& t, int64_t i) {
  switch (t.dtype) {
    case DType::f16: return float_from_f16(read<uint16_t>(t, i));
    case DType::bf16: return float_from_bf16(read<uint16_t>(t, i));
    case DType::f32: case DType::c64: return read<float>(t, i);
    default: return read<double>(t, i);
  }
}

int64_t int_at(const HostTensor& t, int64_t i) {
  switch (dtype_bytes(t.dtype)) {
    case 1: return read<int8_t>(t, i);
    case 2: return read<int16_t>(t, i);
    case 4: return read<int32_t>(t, i);
    default: return read<int64_t>(t, i);
  }
}

std::string type_text(const HostTensor& t) {
  std::string s;
  append(s, t.dtype);
  return cat(s, "[", join(t.shape, ","), "]");
}

std::string compare_values(const HostTensor& got, const HostTensor& want, double scale, double torch_err, bool absolute) {
  if (!is_float(want.dtype) && !is_complex(want.dtype)) {
    for (int64_t i = 0; i < want.numel(); ++i)
      if (int_at(got, i) != int_at(want, i))
        return cat("element ", i, " of ", type_text(want), " is ", int_at(got, i), ", expected ", int_at(want, i));
    return {};
  }
  const Tolerance tol = tolerance_of(want.dtype);
  const int64_t n = want.numel() * (is_complex(want.dtype) ? 2 : 1);
  int64_t worst = -1;
  double worst_excess = 0;
  for (int64_t i = 0; i < n; ++i) {
    double g = real_at(got, i), w = real_at(want, i);
    if (absolute) { g = std::fabs(g); w = std::fabs(w); }
    double excess;
    if (!std::isfinite(w) || !std::isfinite(g)) excess = (std::isnan(w) && std::isnan(g)) || g == w ? 0 : INFINITY;
    else excess = std::fabs(g - w) - scale * (tol.atol + tol.rtol * std::fabs(w)) - 3 * torch_err;
    if (excess > worst_excess) { worst = i; worst_excess = excess; }
  }
  if (worst < 0) return {};
  const double g = real_at(got, worst), w = real_at(want, worst);
  return cat("element ", worst, " of ", type_text(want), " is ", g, ", expected ", w, ", error ", std::fabs(g - w));
}

bool all_zero(const HostTensor& t) {
  const char* p = static_cast<const char*>(t.data);
  const bool floating = is_float(t.dtype) || is_complex(t.dtype);
  const int64_t n = t.numel() * (is_complex(t.dtype) ? 2 : 1);
  if (floating) { for (int64_t i = 0; i < n; ++i) if (real_at(t, i) != 0) return false; return true; }
  for (int64_t i = 0; i < t.bytes(); ++i) if (p[i]) return false;
  return true;
}

}  // namespace

std::string compare_golden(const GoldenFile& file, const GoldenCase& c, const GoldenResult& r) {
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    const HostTensor& got = r.outputs[i];
    const HostTensor want = file.tensor(c, cat("out:", i));
    if (got.dtype != c.out_dtypes[i] || got.shape != want.shape)
      return cat("output ", i, " is ", type_text(got), ", expected ", type_text(want));
    if (c.compare == "shape") continue;
    const double err = i < c.torch_err.size() ? c.torch_err[i] : 0;
    const std::string s = compare_values(got, want, 1, err, c.compare == "abs");
    if (!s.empty()) return cat("output ", i, ": ", s);
  }
  for (const std::string& name : c.grad_wrt) {
    if (c.compare == "shape") continue;
    const auto it = r.grads.find(name);
    if (c.grad_is_undefined(name)) {
      if (it != r.grads.end() && !all_zero(it->second)) return cat("gradient of ", name, " is not zero");
      continue;
    }
    const HostTensor want = file.tensor(c, cat("grad:", name));
    if (it == r.grads.end()) {
      if (!all_zero(want)) return cat("gradient of ", name, " is missing");
      continue;
    }
    if (it->second.dtype != want.dtype || it->second.shape != want.shape)
      return cat("gradient of ", name, " is ", type_text(it->second), ", expected ", type_text(want));
    const auto e = c.grad_err.find(name);
    const std::string s = compare_values(it->second, want, 10, e == c.grad_err.end() ? 0 : e->second, c.compare == "abs");
    if (!s.empty()) return cat("gradient of ", name, ": ", s);
  }
  return {};
}

}  // namespace phlox
