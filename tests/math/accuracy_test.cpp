#include <gtest/gtest.h>

#include "math/functions.h"

namespace phlox::reference {
namespace {

using native::Num;

TEST(MathAccuracy, unary_functions_keep_their_bars) {
  uint64_t n = sample_count();
  for (const Unary& u : unary_functions()) {
    Measured m32 = measure<float>(u.f32, u, u.libm ? n / 8 : n), m64 = measure<double>(u.f64, u, n);
    EXPECT_LE(m32.error, u.bar32) << u.name << " f32 at " << std::hexfloat << m32.at;
    EXPECT_LE(m64.error, u.bar64) << u.name << " f64 at " << std::hexfloat << m64.at;
  }
}

// A million f32 numbers of every size, a prime apart.
TEST(MathAccuracy, dense_f32) {
  for (const Unary& u : unary_functions()) {
    if (!u.libm) continue;
    Measured m = measure_dense(u, 4099);
    EXPECT_LE(m.error, u.bar32) << u.name << " at " << std::hexfloat << m.at;
  }
}

// x Phi(x) as written, without the fused gelu: the product of two rounded results.
TEST(MathAccuracy, gelu_from_normal_cdf) {
  uint64_t n = sample_count() / 4;
  for (uint64_t i = 0; i < n; ++i) {
    double x = -13 + 18 * double(i) / double(n);
    float f = float(x);
    double truth_bar = x >= -5 ? 2 : 4;
    auto truth = [](double v) {
      return Real(v) * call<mpfr_erfc>(-Real(v) / call<mpfr_sqrt>(Real(2))) * Real(0.5);
    };
    ASSERT_LE(ulp_error((Num<float>{f} * math::normal_cdf(Num<float>{f})).v, truth(f)), truth_bar) << f;
    ASSERT_LE(ulp_error((Num<double>{x} * math::normal_cdf(Num<double>{x})).v, truth(x)), truth_bar) << x;
  }
}

template <class F>
void check_trig(double x) {
  F f = F(x);
  if (!std::isfinite(f)) return;
  Real r{double(f)};
  EXPECT_LE(ulp_error(math::sin(Num<F>{f}).v, call<mpfr_sin>(r)), 1) << std::hexfloat << double(f);
  EXPECT_LE(ulp_error(math::cos(Num<F>{f}).v, call<mpfr_cos>(r)), 1) << std::hexfloat << double(f);
}
// Numbers next to multiples of pi/2, where reduction loses all but the last digits, at every size.
TEST(MathAccuracy, trigonometry_next_to_quarter_turns) {
  Real half_pi;
  {
    mpfr_t p;
    mpfr_init2(p, 1300);
    mpfr_const_pi(p, MPFR_RNDN);
    mpfr_div_2ui(p, p, 1, MPFR_RNDN);
    for (int e = 0; e < 1020; ++e)
      for (uint64_t m = 1; m < 40; m += e < 60 ? 1 : 13) {
        // the multiple of pi/2 nearest to (some mantissa) * 2^e, rounded to the type
        mpfr_t q, k;
        mpfr_init2(q, 1300);
        mpfr_init2(k, 1300);
        mpfr_set_d(q, std::ldexp(1 + double(m) / 41, e), MPFR_RNDN);
        mpfr_div(k, q, p, MPFR_RNDN);
        mpfr_rint(k, k, MPFR_RNDN);
        mpfr_mul(q, k, p, MPFR_RNDN);
        if (e < 127) check_trig<float>(mpfr_get_flt(q, MPFR_RNDN));
        check_trig<double>(mpfr_get_d(q, MPFR_RNDN));
        mpfr_clear(q);
        mpfr_clear(k);
      }
    mpfr_clear(p);
  }
  // The f64 numbers known to come closest to a multiple of pi/2, and round large ones.
  for (double x : {0x1.6ac5b262ca1ffp+849, 0x1.921fb54442d18p0, 0x1.5fdbbe9bba775p+9, 1e22, 1e30, 1e300,
                   0x1p1023, 1.7976931348623157e308, 3.4028234663852886e38, 6.0e32})
    check_trig<double>(x), check_trig<float>(x);
}

template <class F>
double worst_pow(uint64_t n, double scale, double top) {
  double worst = 0;
  for (uint64_t i = 0; i < n; ++i) {
    auto u = [&](uint64_t salt) {
      uint64_t h = (i + salt) * 0x9e3779b97f4a7c15ULL;
      h ^= h >> 29;
      h *= 0xbf58476d1ce4e5b9ULL;
      return double((h ^ (h >> 32)) >> 11) * 0x1p-53;
    };
    F x = F(std::exp((u(1) - 0.5) * scale));
    F y = F((2 * u(99) - 1) * top / std::log(double(x)) * (i % 3 ? 1 : u(7)));
    if (!std::isfinite(y)) continue;
    double e =
        ulp_error(math::pow(Num<F>{x}, Num<F>{y}).v, call2<mpfr_pow>(Real(double(x)), Real(double(y))));
    if (e > worst) worst = e;
  }
  return worst;
}
TEST(MathAccuracy, pow) {
  uint64_t n = sample_count() / 4;
  for (double scale : {160.0, 4.0, 0.5, 1e-3}) {
    EXPECT_LE(worst_pow<float>(n, scale, 104), 1.25) << scale;
    EXPECT_LE(worst_pow<double>(n, scale, 745), 1.25) << scale;
  }
}

}  // namespace
}  // namespace phlox::reference
