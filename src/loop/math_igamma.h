// The regularised incomplete gamma functions P(a, x) and Q(a, x) = 1 - P. f32 computes in f64.
//
// Four forms, all evaluated and one picked: the power series where x is below a (or small), the continued
// fraction above it, Temme's uniform expansion where a > 20 and x is near a, and a series of its own for Q
// where x is small. Trip counts are fixed at what full f64 accuracy needs in the worst corner of each region.
#pragma once
#include "loop/math_gamma.h"
#include "loop/math_series.h"

namespace phlox::math {

// log Gamma(1 + a) for a >= 0, relatively accurate near 0.
template <ScalarValue V>
V lgamma1p(const V& a) {
  V c = math::at_most(a, 0.5);
  V small = fma(c * (k(a, 1) + c), math::lgamma_near_two(c), -math::log1p(c));
  return select(le(a, k(a, 0.5)), small, math::lgamma_positive(k(a, 1) + a));
}
// x^a e^-x / Gamma(a + 1). Large a goes through x/a, since the powers alone would overflow and cancel.
template <ScalarValue V>
V gamma_prefix(const V& a, const V& x) {
  V small = math::exp(a * math::log(x) - x - math::lgamma1p(a));
  V c = math::at_least(a, 20.0), w = k(a, 1) / c, ww = w * w;
  V mu = (x - c) * w;
  V near = math::log_tail(math::at_most(math::at_least(mu, -0.29), 0.41));
  V phi = select(logical_and(gt(mu, k(a, -0.29)), lt(mu, k(a, 0.41))), near, math::log(x * w) - mu);
  V stirling = w * math::poly(ww, {0.083333333333333333, -0.0027777777777777778, 0.00079365079365079365,
                                   -0.00059523809523809524, 0.00084175084175084175});
  V large = math::exp(fma(c, phi, -stirling)) * k(a, 0.39894228040143267794) * sqrt(w);
  return select(gt(a, k(a, 20)), large, small);
}
// P / prefix = 1 + x/(a+1) + x^2/((a+1)(a+2)) + ...
template <ScalarValue V>
V gamma_series(const V& a, const V& x) {
  V sum = k(a, 1), term = sum, n = a;
  for (int i = 0; i < 110; ++i) {
    n = n + k(a, 1);
    term = term * (x / n);
    sum = sum + term;
  }
  return sum;
}
// Q / (prefix a): the continued fraction 1/(x+1-a - 1(1-a)/(x+3-a - 2(2-a)/(x+5-a - ...))), from the far end.
template <ScalarValue V>
V gamma_fraction(const V& a, const V& x) {
  constexpr int terms = 90;
  V base = x - a;
  V f = base + k(a, 2 * terms + 1);
  for (int i = terms; i > 0; --i) f = base + k(a, 2 * i - 1) - k(a, i) * (k(a, i) - a) / f;
  return k(a, 1) / f;
}
// Q by Temme's expansion.
template <ScalarValue V, size_t n>
V power_series(const V& x, const double (&c)[n]) {
  V r = k(x, c[n - 1]);
  for (size_t i = n - 1; i-- > 0;) r = fma(r, x, k(x, c[i]));
  return r;
}
// Q where upper, P otherwise; each relatively accurate.
template <ScalarValue V>
V gamma_temme(const V& a, const V& x, bool upper) {
  V c = math::at_least(a, 20.0), w = k(a, 1) / c;
  V mu = math::at_most(math::at_least((x - c) * w, -0.29), 0.41);
  V phi = -math::log_tail(mu);  // eta^2 / 2
  V eta = math::flip_sign_by(sqrt(phi + phi), mu);
  namespace t = series;
  V s = math::power_series(eta, t::temme9);
  s = fma(s, w, math::power_series(eta, t::temme8));
  s = fma(s, w, math::power_series(eta, t::temme7));
  s = fma(s, w, math::power_series(eta, t::temme6));
  s = fma(s, w, math::power_series(eta, t::temme5));
  s = fma(s, w, math::power_series(eta, t::temme4));
  s = fma(s, w, math::power_series(eta, t::temme3));
  s = fma(s, w, math::power_series(eta, t::temme2));
  s = fma(s, w, math::power_series(eta, t::temme1));
  s = fma(s, w, math::power_series(eta, t::temme0));
  V e = math::exp(-(c * phi)) * k(a, 0.39894228040143267794) * sqrt(w) * s;
  V main = k(a, 0.5) * math::erfc((upper ? eta : -eta) * sqrt(c * k(a, 0.5)));
  return upper ? main + e : main - e;
}
// Q for small x, where 1 - P would cancel: -expm1(a log x - lgamma(1+a)) - x^a/Gamma(1+a) a sum (-x)^n / (n!
// (a + n)).
template <ScalarValue V>
V gamma_small(const V& a, const V& x) {
  V sum = k(a, 0), term = k(a, 1);
  for (int i = 1; i < 22; ++i) {
    term = term * x * k(a, -1.0 / i);
    sum = sum + term / (a + k(a, i));
  }
  V l = a * math::log(x) - math::lgamma1p(a);
  return -math::expm1(l) - math::exp(l) * a * sum;
}

template <ScalarValue V>
V incomplete_gamma(const V& a, const V& x, bool upper) {
  V zero = k(a, 0), one = k(a, 1), inf = k(a, infinity);
  V prefix = math::gamma_prefix(a, x);
  V mu = (x - a) / a;
  auto uniform = logical_and(gt(a, k(a, 20)), lt(abs(mu), k(a, 0.28)));
  auto by_series = logical_or(le(x, a), lt(x, k(a, 1.1)));
  auto by_fraction = logical_not(by_series);
  // Each argument is kept where its form converges; elsewhere the result is not used.
  V p = prefix * math::gamma_series(a, select(by_series, x, zero));
  V q = prefix * a * math::gamma_fraction(a, select(by_fraction, x, a + k(a, 10)));
  V temme = math::gamma_temme(a, x, upper);
  V r = temme;
  if (upper) {
    auto small = logical_and(lt(x, k(a, 1.1)), gt(x, zero));
    r = select(by_fraction, q, select(small, math::gamma_small(a, math::at_most(x, 1.1)), one - p));
  } else {
    r = select(by_fraction, one - q, p);
  }
  r = select(uniform, temme, r);
  V none = upper ? one : zero, all = upper ? zero : one;
  r = select(eq(x, zero), none, r);
  r = select(eq(x, inf), all, r);
  r = select(eq(a, inf), none, r);
  r = select(eq(a, zero), all, r);
  V nan = k(a, not_a_number);
  auto both_infinite = logical_and(eq(a, inf), eq(x, inf));
  auto both_zero = logical_and(eq(a, zero), eq(x, zero));
  auto valid = logical_and(ge(a, zero), ge(x, zero));
  return select(logical_or(both_infinite, both_zero), nan, select(valid, r, nan));
}
// P(a, x), the lower function.
template <ScalarValue V>
V igamma(const V& a, const V& x) {
  return math::through_f64(
      a, x, []<class W>(const W& b, const W& y) { return math::incomplete_gamma(b, y, false); });
}
// Q(a, x), the upper one.
template <ScalarValue V>
V igammac(const V& a, const V& x) {
  return math::through_f64(
      a, x, []<class W>(const W& b, const W& y) { return math::incomplete_gamma(b, y, true); });
}

}  // namespace phlox::math
