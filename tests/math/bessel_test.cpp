// Bessel, Airy and incomplete gamma functions: relative to the value, or to the local amplitude for those
// with zeros.
#include <gtest/gtest.h>

#include "math/functions.h"

namespace phlox::reference {
namespace {

using native::Num;

// Points from 1e-6 to `hi`, evenly in the logarithm and along the line.
double point(int i, int n, double hi) {
  double u = (i + 0.37) / n;
  return i % 2 ? 1e-6 * std::pow(hi * 1e6, u) : hi * u;
}
template <class F64, class F32>
void check(const char* name, F64 f64, F32 f32, Real (*truth)(const Real&), double hi, double bar,
           bool oscillates, bool negative = false) {
  double worst = 0, at = 0, worst32 = 0;
  for (int i = 0; i < 800; ++i) {
    double x = point(i, 800, hi);
    if (negative) x = -x;
    double want = truth(Real(x)).to_double();
    double size = oscillates ? std::fmax(std::fabs(want), std::fmin(1, 0.8 / std::sqrt(std::fabs(x))))
                             : std::fabs(want);
    double e = std::fabs(f64(Num<double>{x}).v - want) / size;
    if (e > worst) worst = e, at = x;
    float xf = float(x);
    double want32 = truth(Real(double(xf))).to_double();
    double size32 = oscillates ? std::fmax(std::fabs(want32), std::fmin(1, 0.8 / std::sqrt(std::fabs(x))))
                               : std::fabs(want32);
    if (size32 > 1e-37 && size32 < 1e38)
      worst32 = std::fmax(worst32, std::fabs(double(f32(Num<float>{xf}).v) - want32) / size32);
  }
  EXPECT_LE(worst, bar) << name << " at " << at;
  EXPECT_LE(worst32, 6.1e-8) << name << " f32";
}
#define CHECK(f, truth, hi, bar, ...)                                                                        \
  check(                                                                                                     \
      #f, [](Num<double> x) { return math::f(x); }, [](Num<float> x) { return math::f(x); }, truth, hi, bar, \
      __VA_ARGS__)

template <int order>
Real modified_first(const Real& x) {
  Real z = x * x * Real(0.25), term(1), sum(1);
  if (order == 1) term = sum = x * Real(0.5);
  for (int k = 1; k < 1500; ++k) {
    term = term * z / Real(double(k) * (k + order));
    sum = sum + term;
    if (term < sum * Real(1e-35)) break;
  }
  return sum;
}
TEST(MathBessel, modified_first_kind) {
  CHECK(i0, modified_first<0>, 700, 2e-15, false);
  CHECK(i1, modified_first<1>, 700, 2e-15, false);
  CHECK(i0e, [](const Real& x) { return modified_first<0>(x) * call<mpfr_exp>(-x); }, 700, 1e-15, false);
  CHECK(i1e, [](const Real& x) { return modified_first<1>(x) * call<mpfr_exp>(-x); }, 700, 1e-15, false);
  EXPECT_EQ(math::i1(Num<double>{-2.5}).v, -math::i1(Num<double>{2.5}).v);
  EXPECT_EQ(math::i0(Num<double>{INFINITY}).v, INFINITY);
  EXPECT_EQ(math::i0(Num<float>{0}).v, 1);
  EXPECT_TRUE(std::isnan(math::i0(Num<double>{NAN}).v));
}

TEST(MathBessel, modified_second_kind) {
  const struct {
    double x, k0e, k1e;
  } table[] = {
      {1e-05, 11.628973270095616, 100000.99994435512},   {0.1, 2.6823261022628943, 10.890182683049696},
      {0.5, 1.5241093857739095, 2.7310097082117857},     {1, 1.144463079806895, 1.6361534862632582},
      {1.9, 0.86145061675175579, 1.06747092981457},      {2.1, 0.82301715253166206, 1.0023680527405791},
      {3, 0.69776159804385178, 0.8065634801287869},      {8, 0.43662301860158611, 0.46314909287049611},
      {25, 0.24943660457559669, 0.25437732954208525},    {100, 0.12517562165912658, 0.12579995047957853},
      {600, 0.051155685720235964, 0.051198297725472443},
  };
  for (auto& row : table) {
    Num<double> x{row.x};
    EXPECT_NEAR(math::k0e(x).v / row.k0e, 1, 1e-15) << row.x;
    EXPECT_NEAR(math::k1e(x).v / row.k1e, 1, 1e-15) << row.x;
    EXPECT_NEAR(math::k0(x).v / (row.k0e * std::exp(-row.x)), 1, 2e-15) << row.x;
    EXPECT_NEAR(math::k1(x).v / (row.k1e * std::exp(-row.x)), 1, 2e-15) << row.x;
  }
  // Wronskian: I0 K1 + I1 K0 = 1/x, everywhere.
  for (int i = 0; i < 800; ++i) {
    Num<double> x{point(i, 800, 1e4)};
    double w = math::i0e(x).v * math::k1e(x).v + math::i1e(x).v * math::k0e(x).v;
    EXPECT_NEAR(w * x.v, 1, 2e-15) << x.v;
  }
  EXPECT_EQ(math::k0(Num<float>{0}).v, INFINITY);
  EXPECT_EQ(math::k1(Num<double>{INFINITY}).v, 0);
  EXPECT_TRUE(std::isnan(math::k1(Num<double>{-1}).v));
}

TEST(MathBessel, first_and_second_kind) {
  CHECK(j0, call<mpfr_j0>, 300, 1.5e-15, true);
  CHECK(j1, call<mpfr_j1>, 300, 1.5e-15, true);
  CHECK(y0, call<mpfr_y0>, 300, 3e-15, true);
  CHECK(y1, call<mpfr_y1>, 300, 3e-15, true);
  CHECK(j0, call<mpfr_j0>, 3e3, 1.5e-15, true);
  CHECK(j1, call<mpfr_j1>, 100, 1.5e-15, true, true);
  EXPECT_EQ(math::y0(Num<double>{0}).v, -INFINITY);
  EXPECT_EQ(math::j0(Num<double>{INFINITY}).v, 0);
  EXPECT_TRUE(std::isnan(math::y1(Num<float>{-1}).v));
}

TEST(MathBessel, airy_and_spherical) {
  CHECK(airy_ai, call<mpfr_ai>, 100, 4e-15, false);
  CHECK(airy_ai, call<mpfr_ai>, 40, 4e-15, true, true);
  CHECK(spherical_bessel_j0, [](const Real& x) { return call<mpfr_sin>(x) / x; }, 100, 1e-15, true);
  EXPECT_EQ(math::spherical_bessel_j0(Num<float>{0}).v, 1);
}

// Q(a, x) by MPFR; P = 1 - Q has its own digits where Q is near 1, from 140 bits.
TEST(MathBessel, incomplete_gamma) {
  double worst_q = 0, worst_p = 0, at_q[2] = {}, at_p[2] = {};
  for (int i = 0; i < 60; ++i)
    for (int j = 0; j < 12; ++j) {
      double a = 1e-3 * std::pow(10, 5.6 * (i + 0.31) / 60);
      // From far below a to far above, and within a few standard deviations.
      double s = (j - 5.3) / 3;
      double x = j % 2 ? a * std::exp(s) : std::fmax(a + 2 * s * std::sqrt(a), 1e-4);
      Real g, q;
      mpfr_gamma_inc(q.get(), Real(a).get(), Real(x).get(), MPFR_RNDN);
      mpfr_gamma(g.get(), Real(a).get(), MPFR_RNDN);
      if (!mpfr_number_p(g.get()) || mpfr_zero_p(q.get())) continue;
      q = q / g;
      Real p = Real(1) - q;
      double qd = q.to_double(), pd = p.to_double();
      if (qd > 1e-280) {
        double e = std::fabs(math::igammac(Num<double>{a}, Num<double>{x}).v / qd - 1);
        if (e > worst_q) worst_q = e, at_q[0] = a, at_q[1] = x;
      }
      if (pd > 1e-20) {
        double e = std::fabs(math::igamma(Num<double>{a}, Num<double>{x}).v / pd - 1);
        if (e > worst_p) worst_p = e, at_p[0] = a, at_p[1] = x;
      }
    }
  EXPECT_LE(worst_q, 2e-13) << at_q[0] << " " << at_q[1];
  EXPECT_LE(worst_p, 2e-13) << at_p[0] << " " << at_p[1];
  auto P = [](double a, double x) { return math::igamma(Num<double>{a}, Num<double>{x}).v; };
  EXPECT_EQ(P(2, 0), 0);
  EXPECT_EQ(P(2, INFINITY), 1);
  EXPECT_EQ(P(0, 1), 1);
  EXPECT_EQ(P(INFINITY, 1), 0);
  EXPECT_TRUE(std::isnan(P(-1, 1)));
  EXPECT_TRUE(std::isnan(P(0, 0)));
}

TEST(MathBessel, zeta_and_polygamma) {
  for (double s : {1.5, 2.0, 3.7, 10.0, 60.0})
    EXPECT_NEAR(math::zeta(Num<double>{s}, Num<double>{1}).v / call<mpfr_zeta>(Real(s)).to_double(), 1, 1e-15)
        << s;
  // zeta(s, q) - zeta(s, q + 1) = q^-s
  for (double q : {0.01, 0.3, 1.0, 4.5, 100.0})
    EXPECT_NEAR(
        math::zeta(Num<double>{3}, Num<double>{q}).v - math::zeta(Num<double>{3}, Num<double>{q + 1}).v,
        std::pow(q, -3), 1e-15 * std::fmax(1, std::pow(q, -3)));
  EXPECT_EQ(math::zeta(Num<double>{1}, Num<double>{2}).v, INFINITY);
  EXPECT_TRUE(std::isnan(math::zeta(Num<double>{0.5}, Num<double>{2}).v));
  // psi''(1) = -2 zeta(3), psi'''(1/2) = pi^4
  EXPECT_NEAR(math::polygamma(2, Num<double>{1}).v, -2.4041138063191886, 1e-14);
  EXPECT_NEAR(math::polygamma(3, Num<double>{0.5}).v, 97.409091034002437, 2e-13);
  EXPECT_NEAR(math::polygamma(0, Num<double>{1}).v, -0.57721566490153286, 1e-15);
  EXPECT_NEAR(math::trigamma(Num<double>{-0.5}).v, 8.9348022005446793, 1e-14);
  EXPECT_NEAR(math::digamma(Num<double>{-1.5}).v, 0.70315664064524319, 2e-15);
}

}  // namespace
}  // namespace phlox::reference
