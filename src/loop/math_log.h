// The logarithm family: log, log2, log10, log1p, and pow.
//
// All write x = 2^k m with m in [sqrt(1/2), sqrt(2)), f = m - 1 (exact), and log m = f + g(f). Subnormals are
// scaled up first; log 0 = -inf, log of a negative number is NaN.
#pragma once
#include "loop/math_exp.h"

namespace phlox::math {

template <ScalarValue V>
struct LogParts {
  V exponent, m;
};
// For x > 0 and finite; anything else gives numbers that the caller replaces.
template <ScalarValue V>
LogParts<V> log_reduce(const V& x) {
  bool d = is_f64(x);
  auto tiny = lt(x, k(x, d ? 0x1p-1022 : 0x1p-126));
  V scaled = select(tiny, x * k(x, d ? 0x1p54 : 0x1p24), x);
  int64_t one = d ? 0x3ff0000000000000 : 0x3f800000;
  int64_t root_half = d ? 0x3fe6a09e667f3bcd : 0x3f3504f3;
  int m = mantissa_bits(x);
  auto b = bits(scaled);
  b = b + ki(b, one - root_half);  // the exponent field steps at sqrt(1/2)
  auto biased = lshr(b, m);
  V exponent = from_bits(x, biased + ki(b, round_shift_bits(x))) - k(x, round_shift(x) + (d ? 1023 : 127));
  exponent = exponent - select(tiny, k(x, d ? 54 : 24), k(x, 0));
  return {exponent, from_bits(x, (b & ki(b, (int64_t(1) << m) - 1)) + ki(b, root_half))};
}
// g(f) = log(1 + f) - f on the reduced interval, |g| < 0.09.
template <ScalarValue V>
V log_tail(const V& f) {
  if (!is_f64(f))
    return f * f *
           math::poly(f, {-0.499999881, 0.333333254, -0.250015974, 0.200019151, -0.166086823, 0.141836718,
                          -0.132501155, 0.128925234, -0.0758241266});
  // log(1+f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f)
  V s = f / (f + k(f, 2));
  V z = s * s, h = f * f * k(f, 0.5);
  V r =
      z * math::poly(z, {0.66666666666666663, 0.40000000000004926, 0.28571428569410012, 0.2222222260716718,
                         0.18181778338145652, 0.15386989630034617, 0.1325213046076468, 0.13234935162146508});
  return fma(s, h + r, -h);
}
// k log 2 + f + g, each constant in two words; scale * log. (c_hi, c_lo) is the factor of natural log.
struct LogBase {
  double exponent_hi, exponent_lo;  // log of 2; hi times any exponent is exact
  double factor_hi, factor_lo;      // 1 / ln(base)
};
template <ScalarValue V>
V log_sum(const V& exponent, const V& f, const V& g, const LogBase& base) {
  V head = f, tail = g;
  if (base.factor_hi != 1) {
    V factor = k(f, base.factor_hi);
    head = f * factor;
    tail = fma(f, factor, -head) + fma(g, factor, f * k(f, base.factor_lo));
  }
  V whole = exponent * k(f, base.exponent_hi);
  V sum = whole + head;  // |whole| > |head| unless it is 0
  V lost = head - (sum - whole);
  if (base.exponent_lo != 0) lost = fma(exponent, k(f, base.exponent_lo), lost);
  return sum + (lost + tail);
}
// 0, negative, infinite and NaN arguments of a logarithm of x.
template <ScalarValue V>
V log_special(const V& x, const V& y) {
  V zero = k(x, 0), inf = k(x, infinity);
  V rest = select(eq(x, zero), k(x, -infinity), k(x, not_a_number));
  return select(gt(x, zero), select(lt(x, inf), y, x), select(is_nan(x), x, rest));
}
template <ScalarValue V>
V log_in_base(const V& x, const LogBase& base) {
  LogParts<V> p = math::log_reduce(x);
  V f = p.m - k(x, 1);
  return math::log_special(x, math::log_sum(p.exponent, f, math::log_tail(f), base));
}

template <ScalarValue V>
LogBase natural_base(const V& x) {
  return is_f64(x) ? LogBase{0x1.62e42fefa0000p-1, 0x1.cf79abc9e3b3ap-40, 1, 0}
                   : LogBase{0x1.62e4p-1, 0x1.7f7d1cp-20, 1, 0};
}
template <ScalarValue V>
V log(const V& x) {
  return math::log_in_base(x, math::natural_base(x));
}
template <ScalarValue V>
V log2(const V& x) {
  return math::log_in_base(x, is_f64(x) ? LogBase{1, 0, 0x1.71547652b82fep+0, 0x1.777d0ffda0d24p-56}
                                        : LogBase{1, 0, 0x1.715476p+0, 0x1.4ae0c0p-26});
}
template <ScalarValue V>
V log10(const V& x) {
  return math::log_in_base(x, is_f64(x)
                                  ? LogBase{0x1.34413509f8000p-2, -0x1.80433b83b532ap-44,
                                            0x1.bcb7b1526e50ep-2, 0x1.95355baaafad3p-57}
                                  : LogBase{0x1.3442p-2, -0x1.95ec10p-19, 0x1.bcb7b2p-2, -0x1.5b235ep-27});
}

template <ScalarValue V>
V log1p(const V& x) {
  V one = k(x, 1);
  LogParts<V> p = math::log_reduce(one + x);
  // f = 2^-k (1 + x) - 1 = 2^-k x + (2^-k - 1), whose rounding error is kept: f_lo.
  bool d = is_f64(x);
  auto large = gt(x, k(x, d ? 0x1p60 : 0x1p30));
  auto n = bits(p.exponent + k(x, round_shift(x)));
  V s = from_bits(x, (ki(n, (d ? 1023 : 127) + round_shift_bits(x)) - n) << mantissa_bits(x));
  V base = s - one;
  Two<V> f = math::two_sum(base, s * x);
  V head = select(large, p.m - one, f.hi);
  V lost = select(large, k(x, 0), f.lo);
  V tail = math::log_tail(head) + fma(lost, -head, lost);
  V y = math::log_sum(p.exponent, head, tail, math::natural_base(x));
  V minus_one = k(x, -1);
  y = select(gt(x, minus_one), y,
             select(eq(x, minus_one), k(x, -infinity), select(is_nan(x), x, k(x, not_a_number))));
  auto keep = logical_or(eq(x, k(x, 0)), eq(x, k(x, infinity)));
  return select(keep, x, y);
}

// log2 of x > 0 as hi + lo, to about 1.5 times the precision of V.
template <ScalarValue V>
Two<V> log2_two(const V& x) {
  bool d = is_f64(x);
  LogParts<V> p = math::log_reduce(x);
  V one = k(x, 1);
  // s = f / (2 + f) = (m - 1) / (m + 1)
  V f = p.m - one, den = p.m + one, den_lo = p.m - (den - one);
  V inverse = one / den;
  V s = f * inverse;
  V s_lo = fma(-s, den_lo, fma(-s, den, f)) * inverse;
  // log m = 2 s (1 + z/3 + z^2 Q(z)), z = s^2
  V z = s * s, z_lo = fma(s, s, -z) + k(x, 2) * s * s_lo;
  V q = z * (d ? math::poly(
                     z, {0.20000000000001128, 0.1428571428504983, 0.11111111259949377, 0.090908921849539331,
                         0.076933785878657818, 0.066284109634410282, 0.065981428475986467})
               : math::poly(z, {0.200000763, 0.142735451, 0.11709816}));
  Two<V> third = math::fast_two_sum(k(x, d ? 0x1.5555555555555p-2 : 0x1.555556p-2), q);
  third.lo = third.lo + k(x, d ? 0x1.5555555555555p-56 : -0x1.555556p-27);
  Two<V> u = math::times(Two<V>{z, z_lo}, third);
  Two<V> v = math::two_product(s, u.hi);
  // s (1 + u), then times 2 log2 e
  Two<V> w = math::fast_two_sum(s, v.hi);
  w.lo = w.lo + (s_lo + (v.lo + fma(s, u.lo, s_lo * u.hi)));
  Two<V> scale{k(x, d ? 0x1.71547652b82fep+1 : 0x1.715476p+1),
               k(x, d ? 0x1.777d0ffda0d24p-55 : 0x1.4ae0c0p-25)};
  Two<V> log_m = math::times(w, scale);
  Two<V> sum = math::fast_two_sum(p.exponent, log_m.hi);
  return math::fast_two_sum(sum.hi, sum.lo + log_m.lo);
}
// 2^(hi + lo), |lo| much less than 1. Overflow and underflow come out right.
template <ScalarValue V>
V exp2_two(const Two<V>& t) {
  bool d = is_f64(t.hi);
  V shift = k(t.hi, round_shift(t.hi));
  V c = math::at_least(math::at_most(t.hi, d ? 1100.0 : 160.0), d ? -1200.0 : -200.0);
  V shifted = c + shift;
  V r = (c - (shifted - shift)) + t.lo;
  // 2^r = 1 + r ln2 + r^2 q(r), the linear term in two words.
  V q = d ? math::poly2(r, {0.24022650695910072, 0.055504108664821646, 0.0096181291076278697,
                            0.0013333558146399289, 0.00015403530394570729, 1.5252733849631984e-5,
                            1.3215485803678169e-6, 1.0178053491600137e-7, 7.0552741658035932e-9,
                            4.4563750635369185e-10, 2.5208153137792887e-11})
          : math::poly(r, {0.240226477, 0.0555036142, 0.00961848348, 0.00133905793, 0.000153371744});
  V ln2 = k(r, d ? 0x1.62e42fefa39efp-1 : 0x1.62e430p-1);
  V p = k(r, 1) + fma(r, ln2, r * r * q);
  auto b = bits(shifted);
  return math::scale_biased(p, b + ki(b, 2 * (d ? 1023 : 127) - round_shift_bits(r)));
}

// x^y with C99's special cases.
template <ScalarValue V>
V pow(const V& x, const V& y) {
  V zero = k(x, 0), one = k(x, 1), inf = k(x, infinity);
  V ax = abs(x);
  Two<V> l = math::log2_two(ax);
  // At 0 and inf the logarithm is infinite; then the sign of y * log decides, as it does when |y * log| is
  // huge.
  V log_hi = select(eq(ax, zero), -inf, select(lt(ax, inf), l.hi, ax));
  V e = y * log_hi;
  Two<V> t{e, fma(y, l.lo, fma(y, log_hi, -e))};
  V limit = k(x, is_f64(x) ? 1100 : 160);
  V size = select(lt(abs(e), limit), math::exp2_two(t), select(gt(e, zero), inf, zero));
  // NaN in, NaN out; but 1^y = x^0 = 1, and (-1)^(+-inf) = 1.
  size = select(is_nan(e), e, size);
  size = select(logical_and(eq(ax, one), eq(y, y)), one, size);
  V half = y * k(x, 0.5);
  auto integer = eq(y, trunc(y));
  auto odd = logical_and(integer, ne(half, trunc(half)));
  V signed_size = select(odd, math::flip_sign_by(size, x), size);
  auto invalid =
      logical_and(logical_and(lt(x, zero), gt(x, -inf)), logical_not(logical_or(integer, is_nan(y))));
  V r = select(invalid, k(x, not_a_number), signed_size);
  return select(logical_or(eq(y, zero), eq(x, one)), one, r);
}

// 1/sqrt(x): the quotient of two rounded results, then one correction by the exact remainders.
template <ScalarValue V>
V rsqrt(const V& x) {
  bool d = is_f64(x);
  auto tiny = lt(x, k(x, d ? 0x1p-900 : 0x1p-100));
  V one = k(x, 1);
  V c = select(tiny, x * k(x, d ? 0x1p120 : 0x1p48), x);
  V s = sqrt(c), r = one / s;
  V e = fma(-s, r, one);                    // r (1 + e) = 1/s
  V c_lo = fma(-s, s, c) * k(x, -0.5) * r;  // 1/sqrt(c) = 1/s (1 + c_lo r)
  V y = fma(r, fma(c_lo, r, e), r);
  y = select(logical_and(gt(c, k(x, 0)), lt(c, k(x, infinity))), y, r);
  return y * select(tiny, k(x, d ? 0x1p60 : 0x1p24), one);
}

}  // namespace phlox::math
