// The inverse trigonometric functions. Out of their domain they give NaN; signs of zero are kept.
#pragma once
#include "loop/math_base.h"

namespace phlox::math {

// A multiple of pi/4 in two words of the value's type.
struct Turn {
  double hi32, lo32, hi64, lo64;
};
constexpr Turn quarter_pi{0x1.921fb6p-1, -0x1.777a5cp-26, 0x1.921fb54442d18p-1, 0x1.1a62633145c07p-55};
constexpr Turn half_pi{0x1.921fb6p+0, -0x1.777a5cp-25, 0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
constexpr Turn three_quarter_pi{0x1.2d97c8p+1, -0x1.99bc5cp-28, 0x1.2d97c7f3321d2p+1, 0x1.a79394c9e8a0ap-54};
constexpr Turn whole_pi{0x1.921fb6p+1, -0x1.777a5cp-24, 0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53};
template <ScalarValue V>
Two<V> k2(const V& like, const Turn& t) {
  return {k(like, is_f64(like) ? t.hi64 : t.hi32), k(like, is_f64(like) ? t.lo64 : t.lo32)};
}
template <ScalarValue V, class B>
Two<V> select2(const B& c, const Two<V>& a, const Two<V>& b) {
  return {select(c, a.hi, b.hi), select(c, a.lo, b.lo)};
}

// asin(s) = s + s z P(z), z = s^2 <= 1/4: z P(z).
template <ScalarValue V>
V asin_tail(const V& z) {
  return z * (is_f64(z)
                  ? math::poly2(z, {0.16666666666665375, 0.075000000003449765, 0.044642856821821064,
                                    0.030381959402002019, 0.022371751780075447, 0.017359798036298078,
                                    0.013884326597022895, 0.012175100753075603, 0.0065028262329374217,
                                    0.0195962649909764, -0.016329750018614541, 0.031983811472843737})
                  : math::poly(z, {0.166667536, 0.0749524906, 0.0454767197, 0.0241473299, 0.042222321}));
}
// asin(sqrt((1 - |x|) / 2)) in two words, the part that both functions use for |x| > 1/2.
template <ScalarValue V>
Two<V> asin_far(const V& ax) {
  V z = fma(ax, k(ax, -0.5), k(ax, 0.5));
  V s = sqrt(z);
  V s_lo = fma(-s, s, z) / math::at_least(s + s, 0x1p-60);
  return math::fast_two_sum(s, fma(s, math::asin_tail(z), s_lo));
}

template <ScalarValue V>
V asin(const V& x) {
  V ax = abs(x);
  V near = fma(ax, math::asin_tail(ax * ax), ax);
  Two<V> a = math::asin_far(ax), quarter = math::k2(x, half_pi);
  V two = k(x, 2);
  Two<V> head = math::fast_two_sum(quarter.hi, -two * a.hi);
  V far = head.hi + (head.lo + fma(-two, a.lo, quarter.lo));
  return math::copy_sign(select(gt(ax, k(x, 0.5)), far, near), x);
}
template <ScalarValue V>
V acos(const V& x) {
  V ax = abs(x), two = k(x, 2);
  Two<V> quarter = math::k2(x, half_pi), whole = math::k2(x, whole_pi);
  Two<V> head = math::fast_two_sum(quarter.hi, -x);
  V near = head.hi + (head.lo + (quarter.lo - x * math::asin_tail(x * x)));
  Two<V> a = math::asin_far(ax);
  Two<V> turned = math::fast_two_sum(whole.hi, -two * a.hi);
  V left = turned.hi + (turned.lo + fma(-two, a.lo, whole.lo));
  V far = select(lt(x, k(x, 0)), left, two * (a.hi + a.lo));
  return select(gt(ax, k(x, 0.5)), far, near);
}

// base +- atan(num / den): |num / den| <= tan(pi/8); den_lo and num_lo are what their sums lost.
template <ScalarValue V>
V atan_sum(const Two<V>& num, const Two<V>& den, const Two<V>& base) {
  V r = num.hi / den.hi;
  V r_lo = (fma(-r, den.hi, num.hi) + (num.lo - r * den.lo)) / den.hi;
  V z = r * r;
  V tail =
      z * (is_f64(z) ? math::poly2(z, {-0.33333333333333198, 0.19999999999953766, -0.14285714280212172,
                                       0.11111110784153379, -0.090908977754875386, 0.076920604941522627,
                                       -0.066631068124355375, 0.05847906419164528, -0.05039368391661328,
                                       0.03806584176807784, -0.017908248765081777})
                     : math::poly(z, {-0.333333164, 0.199985296, -0.142444283, 0.105994485, -0.0609069541}));
  Two<V> head = math::fast_two_sum(base.hi, r);
  return head.hi + (head.lo + (base.lo + fma(r, tail, r_lo)));
}

template <ScalarValue V>
V atan(const V& x) {
  V ax = abs(x), one = k(x, 1), zero = k(x, 0);
  auto far = gt(ax, k(x, 2.41421356237309504880)), near = lt(ax, k(x, 0.41421356237309504880));
  Two<V> plain{ax, zero}, unit{one, zero};
  Two<V> num = math::select2(far, Two<V>{-one, zero}, math::select2(near, plain, math::two_sum(ax, -one)));
  Two<V> den = math::select2(far, plain, math::select2(near, unit, math::two_sum(ax, one)));
  Two<V> base = math::select2(far, math::k2(x, half_pi),
                              math::select2(near, Two<V>{zero, zero}, math::k2(x, quarter_pi)));
  // At infinity the quotient is 0 but its remainder would be NaN.
  den.hi = math::at_most(den.hi, max_finite(x));
  V y = math::atan_sum(num, den, base);
  return math::copy_sign(select(lt(ax, k(x, 0x1p-30)), ax, y), x);
}

// The angle of the point (x, y), with C99's special cases.
template <ScalarValue V>
V atan2(const V& y, const V& x) {
  bool d = is_f64(x);
  V zero = k(x, 0), one = k(x, 1), inf = k(x, infinity);
  V ax = abs(x), ay = abs(y);
  auto both_infinite = logical_and(eq(ax, inf), eq(ay, inf));
  auto x_infinite = eq(ax, inf), y_infinite = eq(ay, inf);
  ax = select(both_infinite, one, select(x_infinite, one, select(y_infinite, zero, ax)));
  ay = select(both_infinite, one, select(y_infinite, one, select(x_infinite, zero, ay)));
  // Away from overflow and underflow; what scaling loses is below the rounding of the quotient.
  V larger = select(gt(ax, ay), ax, ay);
  V factor = select(gt(larger, k(x, d ? 0x1p900 : 0x1p100)), k(x, d ? 0x1p-128 : 0x1p-32),
                    select(lt(larger, k(x, d ? 0x1p-800 : 0x1p-60)), k(x, d ? 0x1p200 : 0x1p60), one));
  ax = ax * factor;
  ay = ay * factor;
  auto behind = lt(math::copy_sign(one, x), zero);
  auto steep = gt(ay, ax * k(x, 2.41421356237309504880)), flat = lt(ay, ax * k(x, 0.41421356237309504880));
  Two<V> num =
      math::select2(steep, Two<V>{-ax, zero}, math::select2(flat, Two<V>{ay, zero}, math::two_sum(ay, -ax)));
  Two<V> den =
      math::select2(steep, Two<V>{ay, zero}, math::select2(flat, Two<V>{ax, zero}, math::two_sum(ax, ay)));
  auto none = eq(larger, zero);
  den.hi = select(none, one, den.hi);
  num.hi = select(none, zero, num.hi);
  // In front the base is 0, pi/4 or pi/2; behind it is pi less that, and the quotient turns its sign.
  auto on_axis = logical_or(flat, none);
  Two<V> front = math::select2(on_axis, Two<V>{zero, zero}, math::k2(x, quarter_pi));
  Two<V> back = math::select2(on_axis, math::k2(x, whole_pi), math::k2(x, three_quarter_pi));
  Two<V> base = math::select2(steep, math::k2(x, half_pi), math::select2(behind, back, front));
  num.hi = math::flip_sign_by(num.hi, x);
  num.lo = math::flip_sign_by(num.lo, x);
  V angle = math::atan_sum(num, den, base);
  // A tiny angle is the quotient itself, whose remainder may have underflowed.
  V plain = ay / select(none, one, ax);
  auto tiny = logical_and(logical_not(behind), lt(plain, k(x, 0x1p-30)));
  angle = math::copy_sign(select(tiny, plain, angle), y);
  V sum = x + y;
  return select(logical_or(is_nan(x), is_nan(y)), sum, angle);
}

}  // namespace phlox::math
