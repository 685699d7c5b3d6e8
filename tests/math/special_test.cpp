// Values that are exact: zeros with their signs, infinities, NaN, overflow, and the order and symmetry of neighbours.
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
  for (F x : {F(0), F(-0.0), inf, -inf, std::numeric_limits<F>::quiet_NaN(), std::numeric_limits<F>::denorm_min(),
              -std::numeric_limits<F>::denorm_min(), std::numeric_limits<F>::max(), std::numeric_limits<F>::lowest(),
              F(1), F(-1)}) {
    F want = libm(x), got = mine(Num<F>{x}).v;
    bool finite = std::isfinite(want) && want != 0;
    bool ok = finite ? std::fabs(got - want) <= 4 * std::numeric_limits<F>::epsilon() * std::fabs(want) : same(got, want);
    EXPECT_TRUE(ok) << name << "(" << x << ") is " << got << ", not " << want;
  }
}
#define AGREE(f)                                                                                              \
  agree_at_special_points<float>(#f, [](auto x) { return math::f(x); }, [](float x) { return std::f(x); });   \
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
}

template <class F>
void check_pow_table() {
  constexpr F inf = std::numeric_limits<F>::infinity(), nan = std::numeric_limits<F>::quiet_NaN();
  const F values[] = {0, F(-0.0), 1, -1, 2, -2, 3, -3, F(0.5), F(-0.5), inf, -inf, nan, F(1e10), F(-1e10), F(1e30),
                      F(-1e30), F(1e-30), F(-1e-30), F(0.9999), F(-0.9999), F(2.5), F(-2.5), 16777215, 16777216,
                      std::numeric_limits<F>::denorm_min(), -std::numeric_limits<F>::denorm_min(),
                      std::numeric_limits<F>::max(), std::numeric_limits<F>::lowest()};
  for (F x : values)
    for (F y : values) {
      F want = std::pow(x, y), got = math::pow(Num<F>{x}, Num<F>{y}).v;
      bool finite = std::isfinite(want) && want != 0;
      bool ok = finite ? std::fabs(got - want) <= 2 * std::numeric_limits<F>::epsilon() * std::fabs(want) : same(got, want);
      EXPECT_TRUE(ok) << "pow(" << x << ", " << y << ") is " << got << ", not " << want;
    }
}
TEST(MathSpecial, pow_table) {
  check_pow_table<float>();
  check_pow_table<double>();
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

// Odd functions are odd bit for bit; results at sampled neighbours never step back by more than rounding allows.
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
