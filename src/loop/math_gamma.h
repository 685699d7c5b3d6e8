// The gamma family: lgamma, digamma, trigamma, polygamma of a fixed order, Hurwitz zeta. f32 computes in f64.
//
// Arguments are shifted by the recurrence into a strip where one polynomial or asymptotic series holds, with
// a fixed number of masked steps; negative arguments are reflected.
#pragma once
#include "loop/math_log.h"
#include "loop/math_normal.h"
#include "loop/math_trig.h"

namespace phlox::math {

// sin(pi x) and cos(pi x), f64.
template <ScalarValue V>
SinCos<V> sin_cos_pi(const V& x) {
  // Half turns leave exactly; the rest is an angle below pi/4 in two words.
  V shift = k(x, round_shift(x));
  V c = math::at_most(math::at_least(x, -0x1p50), 0x1p50);  // beyond, the caller knows better
  V y = c - k(x, 2) * round_even(c * k(x, 0.5));
  V shifted = fma(y, k(x, 2), shift);
  V rest = fma(shifted - shift, k(x, -0.5), y);
  V pi = k(x, 0x1.921fb54442d18p+1);
  V hi = rest * pi;
  V lo = fma(rest, pi, -hi) + rest * k(x, 0x1.1a62633145c07p-53);
  Angle<V> a{shifted, hi, lo};
  SinCos<V> v = math::sin_cos_kernel(a, false);
  return {math::pick_quadrant(a, v, 0), math::pick_quadrant(a, v, 1)};
}

// lgamma(2 + e) / (e (1 + e)) for |e| <= 1/2
template <ScalarValue V>
V lgamma_near_two(const V& e) {
  return math::poly(
      e, {0.42278433509846713, -0.10031730167435396, 0.032965000621159028, -0.012384192193363116,
          0.0049986411643561856, -0.0021081308344686129, 0.0009153769362658451, -0.00040570738274513007,
          0.00018255235037728336, -8.3095357599706103e-5, 3.8172235222133167e-5, -1.7659545278599442e-5,
          8.199344524055427e-6, -3.8591579059691975e-6, 1.8995595937621099e-6, -8.1428050739467606e-7,
          2.0337734178025872e-7, -2.588882872642028e-7, 2.8394179373288444e-7});
}
// lgamma of x > 0, relatively accurate also at its zeros 1 and 2.
template <ScalarValue V>
V lgamma_positive(const V& x) {
  V one = k(x, 1), half = k(x, 0.5);
  auto below = lt(x, half), low = lt(x, k(x, 1.5)), high = ge(x, k(x, 8.5));
  // Above 2.5: down to (1.5, 2.5], with the product of what was passed.
  V z = select(high, k(x, 2), x), product = one;
  for (int i = 0; i < 6; ++i) {
    auto step = gt(z, k(x, 2.5));
    V next = z - one;
    product = select(step, product * next, product);
    z = select(step, next, z);
  }
  V e = select(below, x, select(low, x - one, z - k(x, 2)));
  V near = e * (one + e) * math::lgamma_near_two(e);
  // One logarithm serves all cases: of x (1 + x), of x, of the product, of x in Stirling's series.
  V argument = select(below, fma(x, x, x), select(low, x, select(high, x, product)));
  V l = math::log(argument);
  V w = one / x, ww = w * w;
  V series = w * math::poly(ww, {0.083333333333333333, -0.0027777777777777778, 0.00079365079365079365,
                                 -0.00059523809523809524, 0.00084175084175084175, -0.0019175269175269175,
                                 0.0064102564102564103, -0.029550653594771242});
  V far = fma(x - half, l - one, k(x, 0.41893853320467274178) + series);
  V y = near + select(low, -l, l);
  return select(high, far, y);
}
template <ScalarValue V>
V lgamma(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W zero = k(v, 0), inf = k(v, infinity), t = abs(v);
    W direct = math::lgamma_positive(t);
    // log(pi / |x sin(pi x)|) - lgamma(|x|)
    W s = abs(math::sin_cos_pi(t).sin) * t;
    W reflected = k(v, 1.14472988584940017414) - math::log(s) - direct;
    W y = select(lt(v, k(v, -0x1p-70)), reflected, direct);
    auto pole = logical_or(eq(t, zero), logical_and(lt(v, zero), eq(v, floor(v))));
    return select(logical_or(pole, eq(t, inf)), inf, y);
  });
}

template <ScalarValue V>
V digamma(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W one = k(v, 1), zero = k(v, 0), half = k(v, 0.5);
    auto negative = lt(v, half);
    W z = select(negative, one - v, v), sum = zero;
    for (int i = 0; i < 10; ++i) {
      auto step = lt(z, k(v, 10));
      sum = select(step, sum + one / z, sum);
      z = select(step, z + one, z);
    }
    W w = one / z, ww = w * w;
    W series = ww * math::poly(ww, {0.083333333333333333, -0.0083333333333333333, 0.003968253968253968,
                                    -0.0041666666666666667, 0.0075757575757575758, -0.021092796092796093,
                                    0.083333333333333333});
    W y = math::log(z) - (half * w + series) - sum;
    // psi(x) = psi(1 - x) - pi cot(pi x)
    SinCos<W> pi = math::sin_cos_pi(v);
    y = select(negative, y - k(v, 3.14159265358979323846) * pi.cos / pi.sin, y);
    auto pole = logical_and(lt(v, zero), eq(v, floor(v)));
    y = select(pole, k(v, not_a_number), y);
    y = select(eq(v, zero), math::copy_sign(k(v, infinity), -v), y);
    y = select(eq(v, k(v, infinity)), v, y);
    return select(eq(v, k(v, -infinity)), k(v, not_a_number), y);
  });
}

// x^n for a fixed n >= 0.
template <ScalarValue V>
V power_of(const V& x, int n) {
  V r = k(x, 1), base = x;
  for (; n > 0; n >>= 1) {
    if (n & 1) r = r * base;
    if (n > 1) base = base * base;
  }
  return r;
}
// Euler and Maclaurin's B_2j / (2j)!
constexpr double bernoulli_over_factorial[12] = {
    8.3333333333333333e-2,  -1.3888888888888889e-3,  3.3068783068783069e-5,  -8.2671957671957672e-7,
    2.0876756987868099e-8,  -5.2841901386874932e-10, 1.3382536530684679e-11, -3.3896802963225829e-13,
    8.5860620562778446e-15, -2.1748686985580619e-16, 5.5090028283602295e-18, -1.3954464685812523e-19};

// zeta(s, q) for a fixed integer s >= 2 and q > 0, f64.
template <ScalarValue V>
V zeta_fixed(int s, const V& q) {
  V one = k(q, 1), zero = k(q, 0), z = q, sum = zero;
  // Masked steps up to where the series below has converged.
  int steps = 12 + s / 2;
  for (int i = 0; i < steps; ++i) {
    auto step = lt(z, k(q, steps));
    sum = select(step, sum + one / math::power_of(z, s), sum);
    z = select(step, z + one, z);
  }
  V w = one / z, ww = w * w, top = math::power_of(w, s - 1);
  V y = fma(top, k(q, 1.0 / (s - 1)), k(q, 0.5) * top * w);
  V term = top * ww;
  double factor = s;
  for (int j = 0; j < 12; ++j) {
    y = fma(term, k(q, factor * bernoulli_over_factorial[j]), y);
    factor *= double(s + 2 * j + 1) * double(s + 2 * j + 2);
    term = term * ww;
  }
  return sum + y;
}

template <ScalarValue V>
V trigamma(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W one = k(v, 1), half = k(v, 0.5);
    auto negative = lt(v, half);
    W y = math::zeta_fixed(2, select(negative, one - v, v));
    // psi'(x) = pi^2 / sin^2(pi x) - psi'(1 - x)
    W r = k(v, 3.14159265358979323846) / math::sin_cos_pi(v).sin;
    y = select(negative, r * r - y, y);
    y = select(eq(v, k(v, infinity)), k(v, 0), y);
    auto pole = logical_and(le(v, k(v, 0)), eq(v, floor(v)));
    return select(pole, k(v, infinity), y);
  });
}

// The n-th derivative of digamma for a fixed n >= 1: (-1)^(n+1) n! zeta(n + 1, x); defined for x > 0, and at
// negative integers infinite. Negative arguments go up by the recurrence only within (-6, 0), others give
// NaN, except n = 1.
template <ScalarValue V>
V polygamma(int n, const V& x) {
  if (n == 0) return math::digamma(x);
  if (n == 1) return math::trigamma(x);
  return math::through_f64(x, [n]<class W>(const W& v) {
    W zero = k(v, 0), one = k(v, 1), z = v, sum = zero;
    for (int i = 0; i < 6; ++i) {
      auto step = lt(z, zero);
      sum = select(step, sum + one / math::power_of(z, n + 1), sum);
      z = select(step, z + one, z);
    }
    double factorial = 1;
    for (int i = 2; i <= n; ++i) factorial *= i;
    W y = k(v, n % 2 ? factorial : -factorial) * (sum + math::zeta_fixed(n + 1, z));
    auto pole = logical_and(le(v, zero), eq(v, floor(v)));
    y = select(pole, n % 2 ? k(v, infinity) : k(v, not_a_number), y);
    y = select(eq(v, k(v, infinity)), k(v, n % 2 ? 0.0 : -0.0), y);
    return select(lt(z, zero), k(v, not_a_number), y);
  });
}

// Hurwitz zeta(s, q) for real s > 1 and q > 0.
template <ScalarValue V>
V zeta(const V& s, const V& q) {
  return math::through_f64(s, q, []<class W>(const W& a, const W& b) {
    W one = k(a, 1), zero = k(a, 0), half = k(a, 0.5), inf = k(a, infinity);
    W z = b, sum = zero;
    for (int i = 0; i < 10; ++i) {
      sum = sum + math::pow(z, -a);
      z = z + one;
    }
    W w = one / z, ww = w * w, top = math::pow(z, one - a);
    W y = top / (a - one) + half * top * w;
    W term = top * ww * a;
    for (int j = 0; j < 12; ++j) {
      y = fma(term, k(a, bernoulli_over_factorial[j]), y);
      term = term * ww * (a + k(a, 2 * j + 1)) * (a + k(a, 2 * j + 2));
    }
    y = sum + y;
    // Where q^-s overflows or the tail underflows the sum alone is right.
    y = select(is_nan(y), sum, y);
    y = select(eq(a, one), inf, select(lt(a, one), k(a, not_a_number), y));
    auto whole = eq(b, floor(b));
    W left = select(whole, inf, k(a, not_a_number));
    return select(gt(b, zero), y, select(ge(a, one), left, k(a, not_a_number)));
  });
}

}  // namespace phlox::math
