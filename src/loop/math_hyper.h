// The hyperbolic functions and their inverses, on expm1 and log1p in two words.
#pragma once
#include "loop/math_log.h"

namespace phlox::math {

template <ScalarValue V>
V sinh(const V& x) {
  // With t = e^|x| - 1, sinh |x| = (t + t / (t + 1)) / 2; a quarter of t is finite up to the overflow of the
  // result.
  V ax = math::at_most(abs(x), is_f64(x) ? 710.6 : 89.5);
  Two<V> h = math::scaled_expm1(ax, -2);
  Two<V> m = math::fast_two_sum(h.hi, h.lo);
  V q = m.hi / fma(m.hi, k(x, 4), k(x, 1));
  V y = m.hi + (m.lo + q);
  y = y + y;
  return math::copy_sign(select(lt(ax, k(x, is_f64(x) ? 0x1p-28 : 0x1p-13)), ax, y), x);
}
template <ScalarValue V>
V cosh(const V& x) {
  V ax = math::at_most(abs(x), is_f64(x) ? 710.6 : 89.5);
  ExpParts<V> e = math::exp_reduce(ax);
  V p = (fma(e.r * e.r, math::exp_q(e.r), e.r_lo) + e.r) + k(x, 1);
  V quarter = p * math::exp_scale(e.shifted, -2);
  V y = quarter + k(x, 0.0625) / quarter;
  return y + y;
}

// log(1 + x + x_lo) + doublings * log 2, for x > -1.
template <ScalarValue V>
V log1p_two(const V& x, const V& x_lo, const V& doublings) {
  bool d = is_f64(x);
  V one = k(x, 1), zero = k(x, 0);
  LogParts<V> p = math::log_reduce(one + x);
  auto large = gt(x, k(x, d ? 0x1p60 : 0x1p30));
  auto n = bits(p.exponent + k(x, round_shift(x)));
  V s = from_bits(x, (ki(n, (d ? 1023 : 127) + round_shift_bits(x)) - n) << mantissa_bits(x));
  Two<V> f = math::two_sum(s - one, s * x);
  V head = select(large, p.m - one, f.hi);
  V lost = select(large, zero, fma(s, x_lo, f.lo));
  V tail = math::log_tail(head) + fma(lost, -head, lost);
  return math::log_sum(p.exponent + doublings, head, tail, math::natural_base(x));
}

// x where log(2x) replaces the exact form, so that no square overflows.
template <ScalarValue V>
double huge_argument(const V& x) {
  return is_f64(x) ? 0x1p60 : 0x1p30;
}
template <ScalarValue V>
V asinh(const V& x) {
  // log1p(|x| + (sqrt(1 + x^2) - 1)), the bracket as x^2 / (1 + sqrt(1 + x^2))
  V ax = abs(x), one = k(x, 1), zero = k(x, 0);
  auto huge = gt(ax, k(x, huge_argument(x)));
  V c = select(huge, one, ax);
  V z = c * c;
  Two<V> w = math::fast_two_sum(c, z / (one + sqrt(one + z)));
  V big = select(huge, ax, w.hi);
  V y = math::log1p_two(big, select(huge, zero, w.lo), select(huge, one, zero));
  y = select(lt(ax, k(x, is_f64(x) ? 0x1p-28 : 0x1p-13)), ax, y);
  return math::copy_sign(select(lt(ax, k(x, infinity)), y, ax), x);
}
template <ScalarValue V>
V acosh(const V& x) {
  // log1p(t + sqrt(2 t + t^2)), t = x - 1
  V one = k(x, 1), zero = k(x, 0);
  auto huge = gt(x, k(x, huge_argument(x)));
  Two<V> t = math::two_sum(select(huge, one, x), -one);
  V v = fma(t.hi, t.hi, t.hi + t.hi);
  V v_lo = fma(t.hi, t.hi, (t.hi + t.hi) - v) + k(x, 2) * t.lo;
  V s = sqrt(v);
  V s_lo = (fma(-s, s, v) + v_lo) / math::at_least(s + s, 0x1p-60);
  Two<V> w = math::two_sum(t.hi, s);
  V y = math::log1p_two(select(huge, x, w.hi), select(huge, zero, w.lo + (t.lo + s_lo)),
                        select(huge, one, zero));
  y = select(eq(x, one), zero, select(lt(x, k(x, infinity)), y, x));
  return select(lt(x, one), k(x, not_a_number), y);
}
template <ScalarValue V>
V atanh(const V& x) {
  // log1p(2 t / (1 - t)) / 2, t = |x|
  V t = abs(x), one = k(x, 1), zero = k(x, 0);
  Two<V> den = math::fast_two_sum(one, -t);
  V num = t + t;
  V w = num / den.hi;
  V w_lo = (fma(-w, den.hi, num) - w * den.lo) / den.hi;
  V y = k(x, 0.5) * math::log1p_two(w, w_lo, zero);
  y = select(lt(t, k(x, is_f64(x) ? 0x1p-28 : 0x1p-13)), t, y);
  y = select(lt(t, one), y, select(eq(t, one), k(x, infinity), select(is_nan(x), x, k(x, not_a_number))));
  return math::copy_sign(y, x);
}

// log(1 + e^x) and log(sigmoid(x)), without overflow and with relative accuracy in the tails.
template <ScalarValue V>
V softplus(const V& x) {
  V zero = k(x, 0);
  V y = select(gt(x, zero), x, zero) + math::log1p(math::exp(-abs(x)));
  return select(is_nan(x), x, y);
}
template <ScalarValue V>
V log_sigmoid(const V& x) {
  return -math::softplus(-x);
}

}  // namespace phlox::math
