// Functions on the bits and the exact arithmetic of floats: hypot, nextafter, fmod and its kin, frexp, ldexp.
#pragma once
#include "loop/math_base.h"

namespace phlox::math {

// sqrt(x^2 + y^2): the sum of squares in two words, scaled away from overflow and underflow. Infinite where
// either is, even beside a NaN.
template <ScalarValue V>
V hypot(const V& x, const V& y) {
  bool d = is_f64(x);
  V ax = abs(x), ay = abs(y), one = k(x, 1), inf = k(x, infinity);
  auto more = gt(ax, ay);
  V a = select(more, ax, ay), b = select(more, ay, ax);
  auto big = gt(a, k(x, d ? 0x1p500 : 0x1p60)), small = lt(a, k(x, d ? 0x1p-400 : 0x1p-50));
  V down = k(x, d ? 0x1p-600 : 0x1p-70), up = k(x, d ? 0x1p600 : 0x1p70);
  V factor = select(big, down, select(small, up, one)), back = select(big, up, select(small, down, one));
  a = a * factor;
  b = b * factor;
  Two<V> aa = math::two_product(a, a), bb = math::two_product(b, b);
  Two<V> sum = math::fast_two_sum(aa.hi, bb.hi);
  sum.lo = sum.lo + (aa.lo + bb.lo);
  V s = sqrt(sum.hi);
  V fix = (fma(-s, s, sum.hi) + sum.lo) / (s + s);
  V y0 = select(logical_and(gt(s, k(x, 0)), lt(s, inf)), s + fix, s);
  return select(logical_or(eq(ax, inf), eq(ay, inf)), inf, y0 * back);
}

// The next number from x towards y.
template <ScalarValue V>
V nextafter(const V& x, const V& y) {
  V zero = k(x, 0);
  auto b = bits(x);
  auto up = gt(y, x), positive = gt(x, zero);
  V larger = from_bits(x, b + ki(b, 1)), smaller = from_bits(x, b - ki(b, 1));
  V step = select(up, select(positive, larger, smaller), select(positive, smaller, larger));
  V least = math::copy_sign(from_bits(x, ki(b, 1)), y);
  V r = select(eq(x, zero), least, step);
  return select(eq(x, y), y, select(logical_or(is_nan(x), is_nan(y)), x + y, r));
}

// One pass of long division: r less the multiple of y that the rounded quotient names. Exact.
template <ScalarValue V>
V fmod_step(const V& r, const V& y) {
  return fma(-trunc(r / y), y, r);
}
// The remainder of |x| / |y| truncated, for finite x and nonzero y, exact for every pair of exponents: each
// step takes 52 bits off the quotient.
template <ScalarValue V>
V fmod_positive(const V& ax, const V& ay) {
  V r = ax;
  if (!is_f64(ax)) {
    auto w = to_f64(ax), v = to_f64(ay);
    for (int i = 0; i < 6; ++i) w = math::fmod_step(w, v);
    // A quotient that rounded up to an integer leaves -1 times what is wanted.
    w = select(lt(w, k(w, 0)), w + v, w);
    w = select(ge(w, v), w - v, w);
    return math::narrow(ax, w);
  }
  // In three stages, by y 2^1400, y 2^700 and y, so that no quotient overflows; a stage with x < divisor is
  // skipped.
  V middle = ay * k(ay, 0x1p700), wide = middle * k(ay, 0x1p700);
  const V divisors[3] = {wide, middle, ay};
  for (const V& divisor : divisors) {
    V q = r;
    for (int i = 0; i < 14; ++i) q = math::fmod_step(q, divisor);
    q = select(lt(q, k(q, 0)), q + divisor, q);
    r = select(ge(r, divisor), q, r);
  }
  return select(ge(r, ay), r - ay, r);
}
// C's fmod: the sign of x, NaN for infinite x or y = 0.
template <ScalarValue V>
V fmod(const V& x, const V& y) {
  V ax = abs(x), ay = abs(y), inf = k(x, infinity);
  V r = select(lt(ax, ay), ax, math::fmod_positive(ax, ay));
  r = math::copy_sign(r, x);
  auto invalid = logical_or(logical_not(lt(ax, inf)), logical_or(eq(ay, k(x, 0)), is_nan(ay)));
  return select(invalid, k(x, not_a_number), r);
}
// The remainder with the sign of the divisor, and the floor of the quotient that belongs to it.
template <ScalarValue V>
V remainder(const V& x, const V& y) {
  V m = math::fmod(x, y), zero = k(x, 0);
  auto other_side = lt(math::flip_sign_by(m, y), zero);
  return select(other_side, m + y, m);
}
template <ScalarValue V>
V floor_divide(const V& x, const V& y) {
  V zero = k(x, 0), one = k(x, 1);
  V m = math::fmod(x, y);
  V q = (x - m) / y;
  q = select(lt(math::flip_sign_by(m, y), zero), q - one, q);
  V f = floor(q);
  f = select(gt(q - f, k(x, 0.5)), f + one, f);
  f = select(eq(q, zero), math::copy_sign(zero, x / y), f);
  return select(eq(y, zero), x / y, f);
}

// x = mantissa * 2^exponent with 1/2 <= |mantissa| < 1; zeros, infinities and NaN are their own mantissa,
// exponent 0.
template <ScalarValue V>
struct Frexp {
  V mantissa, exponent;
};
template <ScalarValue V>
Frexp<V> frexp(const V& x) {
  bool d = is_f64(x);
  int m = mantissa_bits(x);
  V ax = abs(x), zero = k(x, 0);
  auto tiny = lt(ax, k(x, d ? 0x1p-1022 : 0x1p-126));
  V scaled = select(tiny, x * k(x, d ? 0x1p54 : 0x1p24), x);
  auto b = bits(scaled);
  auto biased = lshr(b, m) & ki(b, d ? 0x7ff : 0xff);
  V e = math::small_to_float(x, biased - ki(b, d ? 1022 : 126)) - select(tiny, k(x, d ? 54 : 24), zero);
  int64_t keep = d ? int64_t(0x800fffffffffffff) : 0x807fffff;
  V f = from_bits(x, (b & ki(b, keep)) | ki(b, d ? 0x3fe0000000000000 : 0x3f000000));
  auto plain = logical_and(ne(x, zero), lt(ax, k(x, infinity)));
  return {select(plain, f, x), select(plain, e, zero)};
}
// x * 2^n for an integral float n, rounding once.
template <ScalarValue V>
V ldexp(const V& x, const V& n) {
  // Three factors reach from the largest to the smallest number; normalising first keeps all but the last
  // exact.
  bool d = is_f64(x);
  Frexp<V> f = math::frexp(x);
  V e = math::at_least(math::at_most(f.exponent + n, d ? 1100.0 : 200.0), d ? -1200.0 : -250.0);
  auto b = bits(e + k(x, round_shift(x)));
  V y = math::scale_biased(f.mantissa, b + ki(b, 2 * (d ? 1023 : 127) - round_shift_bits(x)));
  return select(logical_and(ne(x, k(x, 0)), lt(abs(x), k(x, infinity))), y, x);
}

}  // namespace phlox::math
