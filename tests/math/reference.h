// What the scalar functions are measured against: MPFR with more digits than f64 has, and the error in units
// in the last place (ulp) of the type, at the true value; below the normal range the ulp is the smallest
// subnormal.
#pragma once
#include <mpfr.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

namespace phlox::reference {

constexpr mpfr_prec_t precision = 140;

class Real {
 public:
  Real() { mpfr_init2(value_, precision); }
  explicit Real(double x) : Real() { mpfr_set_d(value_, x, MPFR_RNDN); }
  Real(const Real& o) : Real() { mpfr_set(value_, o.value_, MPFR_RNDN); }
  Real& operator=(const Real& o) {
    mpfr_set(value_, o.value_, MPFR_RNDN);
    return *this;
  }
  ~Real() { mpfr_clear(value_); }
  mpfr_ptr get() { return value_; }
  mpfr_srcptr get() const { return value_; }
  bool is_nan() const { return mpfr_nan_p(value_); }
  double to_double() const { return mpfr_get_d(value_, MPFR_RNDN); }

 private:
  mpfr_t value_;
};

// One function of MPFR as a function of Reals.
template <auto F>
Real call(const Real& x) {
  Real r;
  F(r.get(), x.get(), MPFR_RNDN);
  return r;
}
template <auto F>
Real call2(const Real& x, const Real& y) {
  Real r;
  F(r.get(), x.get(), y.get(), MPFR_RNDN);
  return r;
}
inline Real operator+(const Real& a, const Real& b) { return call2<mpfr_add>(a, b); }
inline Real operator-(const Real& a, const Real& b) { return call2<mpfr_sub>(a, b); }
inline Real operator*(const Real& a, const Real& b) { return call2<mpfr_mul>(a, b); }
inline Real operator/(const Real& a, const Real& b) { return call2<mpfr_div>(a, b); }
inline Real operator-(const Real& a) { return Real(0.0) - a; }
inline bool operator<(const Real& a, const Real& b) { return mpfr_less_p(a.get(), b.get()); }

// |got - want| in ulps of want; infinite when one is NaN and the other is not. Infinity counts as the power
// of two it stands for, so the largest number is one ulp away from overflow.
template <class F>
double ulp_error(F got, const Real& want) {
  constexpr int top = std::numeric_limits<F>::max_exponent, low = std::numeric_limits<F>::min_exponent - 1;
  constexpr int digits = std::numeric_limits<F>::digits - 1;
  if (std::isnan(got) || want.is_nan()) return std::isnan(got) && want.is_nan() ? 0 : INFINITY;
  Real w = want, g{double(got)}, limit{std::ldexp(1.0, top - 1)};
  limit = limit + limit;
  if (limit < w) w = limit;
  if (w < -limit) w = -limit;
  if (std::isinf(got)) g = got > 0 ? limit : -limit;
  int e = low;
  if (!mpfr_zero_p(w.get()) && int(mpfr_get_exp(w.get())) - 1 > low) e = int(mpfr_get_exp(w.get())) - 1;
  if (e > top - 1) e = top - 1;
  Real d = g - w;
  mpfr_mul_2si(d.get(), d.get(), digits - e, MPFR_RNDN);
  return std::fabs(d.to_double());
}

// Points that cover every exponent evenly: the i-th of n bit patterns, low bits scrambled.
template <class F>
F stratified(uint64_t i, uint64_t n) {
  uint64_t h = i * 0x9e3779b97f4a7c15ULL;
  h ^= h >> 29;
  h *= 0xbf58476d1ce4e5b9ULL;
  h ^= h >> 32;
  if constexpr (sizeof(F) == 4) {
    uint64_t stride = (uint64_t(1) << 32) / n;
    return std::bit_cast<float>(uint32_t(i * stride + h % stride));
  } else {
    uint64_t stride = ~uint64_t(0) / n;
    return std::bit_cast<double>(i * stride + h % stride);
  }
}
// The same over [lo, hi] of the real line: half of the points evenly spaced.
template <class F>
F sample(uint64_t i, uint64_t n, double lo, double hi) {
  if (i % 2 == 0) return stratified<F>(i / 2, n / 2);
  uint64_t h = (i + 7) * 0xd6e8feb86659fd93ULL;
  h ^= h >> 32;
  double u = (double(i / 2) + double(h >> 11) * 0x1p-53) / double(n / 2);
  return F(lo + (hi - lo) * u);
}

}  // namespace phlox::reference
