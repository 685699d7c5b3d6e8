// Values that are exact: zeros with their signs, infinities, NaN, overflow, and the order and symmetry of
// neighbours.
#include <gtest/gtest.h>

#include <cmath>

#include "math/functions.h"

namespace phlox::math_test {
namespace {

using native::Num;

template <class F>
bool same(F a, F b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b && std::signbit(a) == std::signbit(b);
}
template <class F, class Mine, class Libm>
void agree_at_special_points(const char* name, Mine mine, Libm libm) {
  constexpr F inf = std::numeric_limits<F>::infinity();
  for (F x : {F(0), F(-0.0), inf, -inf, std::numeric_limits<F>::quiet_NaN(),
              std::numeric_limits<F>::denorm_min(), -std::numeric_limits<F>::denorm_min(),
              std::numeric_limits<F>::max(), std::numeric_limits<F>::lowest(), F(1), F(-1)}) {
    F want = libm(x), got = mine(Num<F>{x}).v;
    bool finite = std::isfinite(want) && want != 0;
    bool ok = finite ? std::fabs(got - want) <= 4 * std::numeric_limits<F>::epsilon() * std::fabs(want)
                     : same(got, want);
    EXPECT_TRUE(ok) << name << "(" << x << ") is " << got << ", not " << want;
  }
}
#define AGREE(f)                                                                                            \
  agree_at_special_points<float>(#f, [](auto x) { return math::f(x); }, [](float x) { return std::f(x); }); \
  agree_at_special_points<double>(#f, [](auto x) { return math::f(x); }, [](double x) { return std::f(x); })

TEST(MathSpecial, as_in_c99) {
  AGREE(exp);
  AGREE(exp2);
  AGREE(expm1);
  AGREE(log);
  AGREE(log2);
  AGREE(log10);
  AGREE(log1p);
  AGREE(tanh);
  AGREE(erf);
  AGREE(erfc);
  AGREE(sin);
  AGREE(cos);
  AGREE(tan);
  AGREE(asin);
  AGREE(acos);
  AGREE(atan);
  AGREE(sinh);
  AGREE(cosh);
  AGREE(asinh);
  AGREE(acosh);
  AGREE(atanh);
  AGREE(lgamma);
}

template <class F>
void check_pow_table() {
  constexpr F inf = std::numeric_limits<F>::infinity(), nan = std::numeric_limits<F>::quiet_NaN();
  const F values[] = {0,
                      F(-0.0),
                      1,
                      -1,
                      2,
                      -2,
                      3,
                      -3,
                      F(0.5),
                      F(-0.5),
                      inf,
                      -inf,
                      nan,
                      F(1e10),
                      F(-1e10),
                      F(1e30),
                      F(-1e30),
                      F(1e-30),
                      F(-1e-30),
                      F(0.9999),
                      F(-0.9999),
                      F(2.5),
                      F(-2.5),
                      16777215,
                      16777216,
                      std::numeric_limits<F>::denorm_min(),
                      -std::numeric_limits<F>::denorm_min(),
                      std::numeric_limits<F>::max(),
                      std::numeric_limits<F>::lowest()};
  for (F x : values)
    for (F y : values) {
      F want = std::pow(x, y), got = math::pow(Num<F>{x}, Num<F>{y}).v;
      bool finite = std::isfinite(want) && want != 0;
      bool ok = finite ? std::fabs(got - want) <= 2 * std::numeric_limits<F>::epsilon() * std::fabs(want)
                       : same(got, want);
      EXPECT_TRUE(ok) << "pow(" << x << ", " << y << ") is " << got << ", not " << want;
    }
}
TEST(MathSpecial, pow_table) {
  check_pow_table<float>();
  check_pow_table<double>();
}

// Pairs over the whole range: every function here has an exact or C99-defined answer.
template <class F, class Check>
void for_pairs(Check check) {
  constexpr F inf = std::numeric_limits<F>::infinity(), nan = std::numeric_limits<F>::quiet_NaN();
  const F values[] = {0,
                      F(-0.0),
                      1,
                      -1,
                      F(0.3),
                      F(-2.5),
                      3,
                      inf,
                      -inf,
                      nan,
                      F(1e30),
                      F(-1e-30),
                      std::numeric_limits<F>::denorm_min(),
                      std::numeric_limits<F>::max(),
                      std::numeric_limits<F>::lowest(),
                      std::numeric_limits<F>::min()};
  for (F x : values)
    for (F y : values) check(x, y);
  for (uint64_t i = 0; i < 4000; ++i)
    check(reference::stratified<F>(i * 2654435761 % 4000, 4000), reference::stratified<F>(i, 4000));
}
template <class F>
void check_pairs() {
  auto n = [](F v) { return Num<F>{v}; };
  for_pairs<F>([&](F x, F y) {
    EXPECT_TRUE(same(math::fmod(n(x), n(y)).v, std::fmod(x, y))) << "fmod " << x << " " << y;
    EXPECT_TRUE(same(math::nextafter(n(x), n(y)).v, std::nextafter(x, y))) << "nextafter " << x << " " << y;
    F a = std::atan2(y, x), b = math::atan2(n(y), n(x)).v;
    EXPECT_TRUE(same(a, b) || std::fabs(a - b) <= 2 * std::numeric_limits<F>::epsilon() * std::fabs(a) ||
                std::fabs(a - b) <= std::numeric_limits<F>::denorm_min())
        << "atan2 " << y << " " << x << " is " << b << ", not " << a;
    F h = std::hypot(x, y), g = math::hypot(n(x), n(y)).v;
    EXPECT_TRUE(same(h, g) || std::fabs(h - g) <= std::numeric_limits<F>::epsilon() * std::fabs(h) ||
                std::fabs(h - g) <= std::numeric_limits<F>::denorm_min())
        << "hypot " << x << " " << y << " is " << g << ", not " << h;
    // Python's rule: the remainder has the divisor's sign, and the quotient is the floor.
    F m = std::fmod(x, y);
    if (m != 0 && (m < 0) != (y < 0)) m += y;
    EXPECT_TRUE(same(math::remainder(n(x), n(y)).v, m)) << "remainder " << x << " " << y;
  });
  for (uint64_t i = 0; i < 4000; ++i) {
    F x = reference::stratified<F>(i, 4000);
    int e = 0;
    F f = std::frexp(x, &e);
    auto mine = math::frexp(n(x));
    EXPECT_TRUE(same(mine.mantissa.v, f)) << x;
    if (std::isfinite(x)) {
      EXPECT_EQ(mine.exponent.v, F(e)) << x;
    }
    for (int s : {-300, -40, -1, 0, 3, 200})
      EXPECT_TRUE(same(math::ldexp(n(x), n(F(s))).v, std::ldexp(x, s))) << x << " " << s;
  }
}
TEST(MathSpecial, pairs) {
  check_pairs<float>();
  check_pairs<double>();
}
TEST(MathSpecial, floor_divide) {
  auto f = [](double x, double y) { return math::floor_divide(Num<double>{x}, Num<double>{y}).v; };
  EXPECT_EQ(f(7, 2), 3);
  EXPECT_EQ(f(-7, 2), -4);
  EXPECT_EQ(f(7, -2), -4);
  EXPECT_EQ(f(0.3, 0.1), 2);  // 0.1 rounds up, so three do not fit
  EXPECT_EQ(f(1, 0), INFINITY);
  EXPECT_TRUE(std::isnan(f(0, 0)));
  EXPECT_TRUE(same(f(-0.0, 3), -0.0));
}

template <class F>
void check_limits() {
  constexpr F inf = std::numeric_limits<F>::infinity(), nan = std::numeric_limits<F>::quiet_NaN();
  auto n = [](F x) { return Num<F>{x}; };
  EXPECT_TRUE(same(math::sigmoid(n(inf)).v, F(1)));
  EXPECT_TRUE(same(math::sigmoid(n(-inf)).v, F(0)));
  EXPECT_TRUE(same(math::sigmoid(n(0)).v, F(0.5)));
  EXPECT_TRUE(same(math::sigmoid(n(nan)).v, nan));
  EXPECT_TRUE(same(math::silu(n(inf)).v, inf));
  EXPECT_TRUE(same(math::silu(n(-inf)).v, F(-0.0)));
  EXPECT_TRUE(same(math::silu(n(F(-0.0))).v, F(-0.0)));
  EXPECT_TRUE(same(math::silu(n(nan)).v, nan));
  EXPECT_TRUE(same(math::normal_cdf(n(inf)).v, F(1)));
  EXPECT_TRUE(same(math::normal_cdf(n(-inf)).v, F(0)));
  EXPECT_TRUE(same(math::normal_cdf(n(0)).v, F(0.5)));
  EXPECT_TRUE(same(math::normal_cdf(n(nan)).v, nan));
  EXPECT_TRUE(same(math::gelu(n(inf)).v, inf));
  EXPECT_TRUE(same(math::gelu(n(-inf)).v, F(-0.0)));
  EXPECT_TRUE(same(math::gelu(n(F(-0.0))).v, F(-0.0)));
  EXPECT_TRUE(same(math::gelu(n(nan)).v, nan));
  EXPECT_TRUE(same(math::erfinv(n(1)).v, inf));
  EXPECT_TRUE(same(math::erfinv(n(-1)).v, -inf));
  EXPECT_TRUE(same(math::erfinv(n(F(-0.0))).v, F(-0.0)));
  EXPECT_TRUE(same(math::erfinv(n(F(1.5))).v, nan));
  EXPECT_TRUE(same(math::ndtri(n(0)).v, -inf));
  EXPECT_TRUE(same(math::ndtri(n(1)).v, inf));
  EXPECT_TRUE(same(math::ndtri(n(F(0.5))).v, F(0)));
  EXPECT_TRUE(same(math::ndtri(n(-1)).v, nan));
  EXPECT_TRUE(same(math::digamma(n(0)).v, -inf));
  EXPECT_TRUE(same(math::digamma(n(F(-0.0))).v, inf));
  EXPECT_TRUE(same(math::digamma(n(-3)).v, nan));
  EXPECT_TRUE(same(math::digamma(n(inf)).v, inf));
  EXPECT_TRUE(same(math::trigamma(n(0)).v, inf));
  EXPECT_TRUE(same(math::softplus(n(-inf)).v, F(0)));
  EXPECT_TRUE(same(math::softplus(n(inf)).v, inf));
  EXPECT_TRUE(same(math::log_sigmoid(n(-inf)).v, -inf));
  EXPECT_TRUE(same(math::log_ndtr(n(-inf)).v, -inf));
  EXPECT_TRUE(same(math::log_ndtr(n(inf)).v, F(0)));
  EXPECT_TRUE(same(math::erfcx(n(inf)).v, F(0)));
  EXPECT_TRUE(same(math::erfcx(n(-inf)).v, inf));
  EXPECT_TRUE(same(math::rsqrt(n(0)).v, inf));
  EXPECT_TRUE(same(math::rsqrt(n(F(-0.0))).v, -inf));
  EXPECT_TRUE(same(math::rsqrt(n(inf)).v, F(0)));
  EXPECT_TRUE(same(math::rsqrt(n(-1)).v, nan));
  EXPECT_TRUE(same(math::rsqrt(n(nan)).v, nan));
}
TEST(MathSpecial, limits) {
  check_limits<float>();
  check_limits<double>();
}

// Odd functions are odd bit for bit; results at sampled neighbours never step back by more than rounding
// allows.
TEST(MathSpecial, odd_and_even) {
  for (uint64_t i = 0; i < 20000; ++i) {
    float x = reference::stratified<float>(i, 20000);
    if (std::isnan(x)) continue;
    Num<float> p{x}, m{-x};
    EXPECT_TRUE(same(math::tanh(m).v, -math::tanh(p).v)) << x;
    EXPECT_TRUE(same(math::erf(m).v, -math::erf(p).v)) << x;
    EXPECT_TRUE(same(math::sin(m).v, -math::sin(p).v) || std::isinf(x)) << x;
    EXPECT_TRUE(same(math::cos(m).v, math::cos(p).v) || std::isinf(x)) << x;
    EXPECT_LE(std::fabs(math::tanh(p).v), 1.0f);
    EXPECT_LE(std::fabs(math::erf(p).v), 1.0f);
  }
}

}  // namespace
}  // namespace phlox::math_test
