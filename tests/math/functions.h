// The scalar functions with their references, domains and accuracy bars: one table for the tests and for the
// page of measured errors.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "loop/math_number.h"
#include "math/reference.h"

namespace phlox::reference {

struct Unary {
  const char* name;
  float (*f32)(float);
  double (*f64)(double);
  Real (*truth)(const Real&);
  double lo, hi;        // where points are dense; others are taken from [from, to]
  double bar32, bar64;  // largest error allowed, ulp
  double from = -INFINITY, to = INFINITY;
  int thin = 1;                      // a slow reference: only every thin-th point
  double (*libm)(double) = nullptr;  // good to some 2^-50, for dense sweeps of f32
};

const std::vector<Unary>& unary_functions();

struct Measured {
  double error = 0, at = 0;
};
template <class F, class Fn>
Measured measure(Fn f, const Unary& u, uint64_t n) {
  Measured worst;
  n /= uint64_t(u.thin);
  for (uint64_t i = 0; i < n; ++i) {
    F x = sample<F>(i, n, u.lo, u.hi);
    if (!(x >= u.from && x <= u.to)) continue;
    double e = ulp_error(f(x), u.truth(Real(double(x))));
    if (e > worst.error) worst = {e, double(x)};
  }
  return worst;
}

// Every stride-th f32 of all 2^32, against f64.
inline Measured measure_dense(const Unary& u, uint64_t stride) {
  Measured worst;
  for (uint64_t b = 0; b < uint64_t(1) << 32; b += stride) {
    float x = std::bit_cast<float>(uint32_t(b));
    if (!(x >= u.from && x <= u.to)) continue;
    double want = u.libm(x), got = u.f32(x);
    if (std::isnan(want) && std::isnan(got)) continue;
    // An overflow counts as the power of two it stands for.
    want = std::fmax(-0x1p128, std::fmin(0x1p128, want));
    got = std::fmax(-0x1p128, std::fmin(0x1p128, got));
    int e;
    std::frexp(want, &e);
    double error = std::fabs(got - want) / std::ldexp(1.0, std::max(std::min(e, 128), -125) - 24);
    if (!(error <= worst.error)) worst = {error, double(x)};
  }
  return worst;
}

// Points a function, from the environment when a deeper run is wanted.
inline uint64_t sample_count() {
  const char* s = getenv("PHLOX_MATH_SAMPLES");
  return s ? strtoull(s, nullptr, 10) : 1 << 14;
}

}  // namespace phlox::reference
