#include "loop/scalar_math.h"

#include <cmath>

namespace phlox {

namespace {

// In f64, by the C library where it has the function.

// The asymptotic series of digamma and trigamma is used from here on, where it has converged to a rounding error.
constexpr double series_from = 12;
constexpr double pi = 3.14159265358979323846;

double digamma(double x) {
  if (x <= 0 && std::floor(x) == x) return x == 0 ? std::copysign(INFINITY, -x) : NAN;
  if (x < 0) {  // reflection, with the argument of tan reduced first
    const double r = std::remainder(x, 1.0);
    return digamma(1 - x) - (std::fabs(r) == 0.5 ? 0 : pi / std::tan(pi * r));
  }
  double shift = 0;
  for (; x < series_from; ++x) shift -= 1 / x;
  const double z = 1 / (x * x);
  const double s = z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z * (1.0 / 132 - z * (691.0 / 32760 - z / 12))))));
  return shift + std::log(x) - 0.5 / x - s;
}

double trigamma(double x) {
  if (x <= 0 && std::floor(x) == x) return INFINITY;
  if (x < 0) {
    const double s = pi / std::sin(pi * std::remainder(x, 1.0));
    return s * s - trigamma(1 - x);
  }
  double shift = 0;
  for (; x < series_from; ++x) shift += 1 / (x * x);
  const double y = 1 / x, z = y * y;
  const double s = z * (1.0 / 6 - z * (1.0 / 30 - z * (1.0 / 42 - z * (1.0 / 30 - z * (5.0 / 66 - z * (691.0 / 2730 - z * 7.0 / 6))))));
  return shift + y + z / 2 + y * s;
}

double erfinv(double x) {
  if (std::isnan(x) || std::fabs(x) > 1) return NAN;
  if (std::fabs(x) == 1) return std::copysign(INFINITY, x);
  if (x == 0) return x;
  // A rough start (Winitzki's formula, 2 parts in 1000), then Newton's steps with a second-order correction. The
  // residual is taken from erfc where erf is near 1, which keeps the digits of 1 - |x|.
  const double a = std::fabs(x), l = std::log1p(-a * a), t = 2 / (pi * 0.147) + l / 2;
  double y = std::sqrt(std::sqrt(t * t - l / 0.147) - t);
  for (int k = 0; k < 4; ++k) {
    const double e = a < 0.5 ? std::erf(y) - a : (1 - a) - std::erfc(y);
    const double d = e / (2 / std::sqrt(pi) * std::exp(-y * y));
    y -= d / (1 + y * d);
  }
  return std::copysign(y, x);
}

double evaluate(Scalar op, double a, double b) {
  switch (op) {
    case Scalar::exp: return std::exp(a);
    case Scalar::exp2: return std::exp2(a);
    case Scalar::expm1: return std::expm1(a);
    case Scalar::log: return std::log(a);
    case Scalar::log2: return std::log2(a);
    case Scalar::log10: return std::log10(a);
    case Scalar::log1p: return std::log1p(a);
    case Scalar::sigmoid: {
      const double e = std::exp(-std::fabs(a));
      return (a < 0 ? e : 1) / (1 + e);
    }
    case Scalar::tanh: return std::tanh(a);
    case Scalar::erf: return std::erf(a);
    case Scalar::erfc: return std::erfc(a);
    case Scalar::erfinv: return erfinv(a);
    case Scalar::normal_cdf: return 0.5 * std::erfc(-a * 0.70710678118654752440);
    case Scalar::sin: return std::sin(a);
    case Scalar::cos: return std::cos(a);
    case Scalar::tan: return std::tan(a);
    case Scalar::asin: return std::asin(a);
    case Scalar::acos: return std::acos(a);
    case Scalar::atan: return std::atan(a);
    case Scalar::atan2: return std::atan2(a, b);
    case Scalar::sinh: return std::sinh(a);
    case Scalar::cosh: return std::cosh(a);
    case Scalar::asinh: return std::asinh(a);
    case Scalar::acosh: return std::acosh(a);
    case Scalar::atanh: return std::atanh(a);
    case Scalar::pow: return std::pow(a, b);
    case Scalar::rsqrt: return 1 / std::sqrt(a);
    case Scalar::hypot: return std::hypot(a, b);
    case Scalar::lgamma: { int sign; return ::lgamma_r(a, &sign); }  // lgamma itself writes a global
    case Scalar::digamma: return digamma(a);
    case Scalar::trigamma: return trigamma(a);
    case Scalar::nextafter: return std::nextafter(a, b);
    default: return NAN;
  }
}

template <Scalar op, class T>
void math_loop(void* out, const void* a, const void* b, const void*, int64_t n) {
  T* o = static_cast<T*>(out);
  const T* x = static_cast<const T*>(a);
  const T* y = static_cast<const T*>(scalar_info(op).operands == 2 ? b : a);
  for (int64_t i = 0; i < n; ++i) o[i] = T(evaluate(op, double(x[i]), double(y[i])));
}
void nextafter_loop(void* out, const void* a, const void* b, const void*, int64_t n) {
  float* o = static_cast<float*>(out);
  const float *x = static_cast<const float*>(a), *y = static_cast<const float*>(b);
  for (int64_t i = 0; i < n; ++i) o[i] = std::nextafter(x[i], y[i]);
}
void nextafter_wide_loop(void* out, const void* a, const void* b, const void*, int64_t n) {
  double* o = static_cast<double*>(out);
  const double *x = static_cast<const double*>(a), *y = static_cast<const double*>(b);
  for (int64_t i = 0; i < n; ++i) o[i] = std::nextafter(float(x[i]), float(y[i]));
}

template <int k>
struct Find {
  static BlockFn f(Scalar op, Rep r) {
    if constexpr (k < scalar_op_count) {
      if (int(op) == k) return r == Rep::f32 ? math_loop<Scalar(k), float> : math_loop<Scalar(k), double>;
      return Find<k + 1>::f(op, r);
    } else {
      return nullptr;
    }
  }
};

}  // namespace

BlockFn math_block_op(Scalar op, Rep r, bool wide, DType d) {
  if (!wide)
    if (const BlockFn f = has_avx2() ? avx2_math_op(op, r) : baseline_math_op(op, r)) return f;
  if (op == Scalar::nextafter && d != DType::f64) return wide ? nextafter_wide_loop : nextafter_loop;
  return Find<int(Scalar::exp)>::f(op, r);
}

}  // namespace phlox
