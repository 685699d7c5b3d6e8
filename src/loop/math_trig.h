// Sine, cosine, tangent, right over the whole range of the type.
//
// The argument is counted in turns: x / 2pi mod 1, with 1/2pi cut into chunks whose products with x are
// exact, so the whole turns drop out of each product by itself (Payne and Hanek's idea without tables). f32
// does this in f64, where six products cover every exponent; f64 picks five of 25 chunks by the exponent, in
// a tree of selects.
#pragma once
#include "loop/math_base.h"

namespace phlox::math {

// x = (quarter turns) * pi/2 + hi + lo; the low bits of `shifted` hold the quarter turns.
template <ScalarValue V>
struct Angle {
  V shifted, hi, lo;
};

template <ScalarValue V>
V fraction(const V& x) {
  return x - round_even(x);
}

// x holds an f32 number as f64. The angle is good to 2^-53 absolute, which is 2^-24 relative at the f32
// number that comes closest to a multiple of pi/2.
template <ScalarValue V>
Angle<V> reduce_angle32(const V& x) {
  // Chunks of 30 bits, the last one complete.
  constexpr double chunk[6] = {0x1.45f306ep-3,  -0x1.b1bbeadp-34,  -0x1.80f62a1p-64,
                               0x1.1f534dep-94, -0x1.f924eb6p-125, 0x1.993c439041fe5p-154};
  V turns = x * k(x, chunk[5]);
  for (int i = 4; i >= 0; --i) turns = turns + math::fraction(x * k(x, chunk[i]));
  V shift = k(x, round_shift(x));
  V shifted = fma(turns, k(x, 4), shift);
  V rest = fma(turns, k(x, 4), shift - shifted);
  return {shifted, rest * k(x, 0x1.921fb54442d18p+0), k(x, 0)};
}

// Picks table[index .. index + 4] for an index (a float) below 22.
template <ScalarValue V>
void pick_chunks(const V& like, V index, V (&out)[5]) {
  // Integers v_i with 1/2pi = sum v_i 2^(-48 (i + 1)).
  constexpr double chunk[26] = {
      44798133900177,   5817517069812,    137770596054745, -99616144956400, 140275123681199, -16112875398257,
      -122511983902318, 83264424666247,   69851113008202,  116340901842301, 83214205008487,  30827884306320,
      86193375961301,   -54438053996573,  -18149289310210, 41781299340804,  -4622384966013,  -110742052429900,
      -59430495464494,  -123309994280309, 102572118637305, 136746645966462, -32346929980673, -44065158375614,
      23642923712287,   -40772188246264};
  int needed = 20;
  auto by16 = ge(index, k(like, 16));
  index = select(by16, index - k(like, 16), index);
  V w[20] = {like, like, like, like, like, like, like, like, like, like,
             like, like, like, like, like, like, like, like, like, like};
  for (int i = 0; i < needed; ++i)
    w[i] = i + 16 < 26 ? select(by16, k(like, chunk[i + 16]), k(like, chunk[i])) : k(like, chunk[i]);
  for (int step = 8; step >= 1; step /= 2) {
    needed -= step;
    auto by = ge(index, k(like, step));
    index = select(by, index - k(like, step), index);
    for (int i = 0; i < needed; ++i) w[i] = select(by, w[i + step], w[i]);
  }
  for (int i = 0; i < 5; ++i) out[i] = w[i];
}

template <ScalarValue V>
Angle<V> reduce_angle64(const V& x) {
  // Chunks whose product with x is a whole number of turns are skipped: those below index j = (exponent - 52)
  // / 48.
  auto b = bits(x);
  auto exponent = lshr(b, 52) & ki(b, 0x7ff);
  V e = from_bits(x, exponent + ki(b, round_shift_bits(x))) - k(x, round_shift(x) + 1023 + 52);
  V j = math::at_least(floor(e * k(x, 1.0 / 48)), 0.0);
  j = math::at_most(j, 20.0);
  V chunk[5] = {x, x, x, x, x};
  math::pick_chunks(x, j, chunk);
  // c = x 2^(-48 j): the exponent field less 48 j. The high bits of the shifted form leave by the shift.
  auto jb = bits(j + k(x, round_shift(x)));
  V c = from_bits(x, b - ((jb << 56) + (jb << 57)));
  // Products of c 2^(-48 (i + 1)) and chunk i, exact in two words, whole turns dropped.
  V p[5] = {x, x, x, x, x}, q[4] = {x, x, x, x};
  for (int i = 0; i < 5; ++i) {
    c = c * k(x, 1 / double(uint64_t(1) << 48));
    p[i] = c * chunk[i];
    if (i < 4) q[i] = fma(c, chunk[i], -p[i]);
  }
  for (int i = 0; i < 3; ++i) p[i] = math::fraction(p[i]);
  for (int i = 0; i < 2; ++i) q[i] = math::fraction(q[i]);
  // Quarter turns from a rough sum; taken off first, so that what cancels cancels exactly.
  V shift = k(x, round_shift(x));
  V rough = ((p[2] + q[1]) + (p[1] + q[0])) + p[0];
  V shifted = fma(rough, k(x, 4), shift);
  V h = fma(shifted - shift, k(x, -0.25), p[0]);
  V low[6] = {x, x, x, x, x, x};
  const V terms[6] = {q[0], p[1], q[1], p[2], p[3], q[2]};
  for (int i = 0; i < 6; ++i) {
    Two<V> s = math::two_sum(h, terms[i]);
    h = s.hi;
    low[i] = s.lo;
  }
  Two<V> s = math::two_sum(h, (low[0] + low[1]) + (low[2] + low[3]));
  V rest = s.lo + ((low[4] + low[5]) + (q[3] + p[4]));
  // Turns to radians.
  V tau = k(x, 0x1.921fb54442d18p+2);
  V r = s.hi * tau;
  V r_lo = fma(s.hi, tau, -r) + fma(s.hi, k(x, 0x1.1a62633145c07p-52), rest * tau);
  Two<V> a = math::fast_two_sum(r, r_lo);
  return {shifted, a.hi, a.lo};
}

template <ScalarValue V>
struct SinCos {
  V sin, cos;
};
// Sine and cosine of the reduced angle. `single` asks for f32's accuracy.
template <ScalarValue V>
SinCos<V> sin_cos_kernel(const Angle<V>& a, bool single) {
  V r = a.hi, z = r * r;
  V one = k(r, 1), half = k(r, 0.5);
  if (single) {
    V s = math::poly(
        z, {-0.16666666641607514, 0.0083333293836428401, -0.0001983933410276476, 2.7183044134370793e-6});
    V c = math::poly(z, {-0.5, 0.041666646855241261, -0.0013887366940189881, 2.4438382678354708e-5});
    return {fma(r * z, s, r), fma(z, c, one)};
  }
  V s = math::poly(
      z, {-0.16666666666666666, 0.0083333333333330383, -0.00019841269840955875, 2.7557319069545909e-6,
          -2.5052069564897119e-8, 1.6054118753586121e-10, -7.3791499480002035e-13});
  V c = math::poly(z, {0.041666666666666602, -0.001388888888887447, 2.480158728966636e-5,
                       -2.7557314398904114e-7, 2.0875728916317373e-9, -1.135991184604554e-11});
  V sin = r + fma(r * z, s, fma(a.lo, z * -half, a.lo));
  Two<V> head = math::fast_two_sum(one, -half * z);
  V z_lo = fma(r, r, -z);
  V cos = head.hi + fma(z * z, c, head.lo - fma(half, z_lo, r * a.lo));
  return {sin, cos};
}

// The sine of a quarter turn later (offset 1) or of the angle itself (0).
template <ScalarValue V>
V pick_quadrant(const Angle<V>& a, const SinCos<V>& v, int offset) {
  auto n = bits(a.shifted);
  n = n + ki(n, offset);
  V zero = k(v.sin, 0);
  V odd = from_bits(v.sin, (n & ki(n, 1)) << mantissa_bits(v.sin));  // 0, or the smallest normal number
  V y = select(eq(odd, zero), v.sin, v.cos);
  return from_bits(y, bits(y) ^ (lshr(n, 1) << (is_f64(y) ? 63 : 31)));
}

template <ScalarValue V>
V sin(const V& x) {
  if (is_f64(x)) {
    Angle<V> a = math::reduce_angle64(abs(x));
    V y = math::flip_sign_by(math::pick_quadrant(a, math::sin_cos_kernel(a, false), 0), x);
    y = select(lt(abs(x), k(x, 0x1p-27)), x, y);
    return select(lt(abs(x), k(x, infinity)), y, x - x);
  }
  auto w = to_f64(x);
  auto a = math::reduce_angle32(w);
  V y = math::narrow(x, math::pick_quadrant(a, math::sin_cos_kernel(a, true), 0));
  return select(eq(x, k(x, 0)), x, y);
}
template <ScalarValue V>
V cos(const V& x) {
  if (is_f64(x)) {
    Angle<V> a = math::reduce_angle64(abs(x));
    V y = math::pick_quadrant(a, math::sin_cos_kernel(a, false), 1);
    return select(lt(abs(x), k(x, infinity)), y, x - x);
  }
  auto a = math::reduce_angle32(to_f64(x));
  return math::narrow(x, math::pick_quadrant(a, math::sin_cos_kernel(a, true), 1));
}

template <ScalarValue V>
V tan(const V& x) {
  if (!is_f64(x)) {
    auto a = math::reduce_angle32(to_f64(x));
    auto v = math::sin_cos_kernel(a, true);
    V y = math::narrow(x, math::pick_quadrant(a, v, 0) / math::pick_quadrant(a, v, 1));
    return select(eq(x, k(x, 0)), x, y);
  }
  // The tangent of the reduced angle, or minus its reciprocal, from sine and cosine in two words.
  Angle<V> a = math::reduce_angle64(abs(x));
  V z = a.hi * a.hi;
  V one = k(x, 1), half = k(x, 0.5);
  V s = math::poly(
      z, {-0.16666666666666666, 0.0083333333333330383, -0.00019841269840955875, 2.7557319069545909e-6,
          -2.5052069564897119e-8, 1.6054118753586121e-10, -7.3791499480002035e-13});
  V c = math::poly(z, {0.041666666666666602, -0.001388888888887447, 2.480158728966636e-5,
                       -2.7557314398904114e-7, 2.0875728916317373e-9, -1.135991184604554e-11});
  Two<V> sin = math::fast_two_sum(a.hi, fma(a.hi * z, s, fma(a.lo, z * -half, a.lo)));
  Two<V> head = math::fast_two_sum(one, -half * z);
  V z_lo = fma(a.hi, a.hi, -z);
  Two<V> cos = math::fast_two_sum(head.hi, fma(z * z, c, head.lo - fma(half, z_lo, a.hi * a.lo)));
  auto n = bits(a.shifted);
  auto even = eq(from_bits(x, (n & ki(n, 1)) << 52), k(x, 0));
  Two<V> top{select(even, sin.hi, -cos.hi), select(even, sin.lo, -cos.lo)};
  Two<V> bottom{select(even, cos.hi, sin.hi), select(even, cos.lo, sin.lo)};
  // When the angle is tiny and turned, the quotient is huge; its reciprocal is still normal.
  V y = math::flip_sign_by(math::quotient(top, bottom), x);
  y = select(lt(abs(x), k(x, 0x1p-27)), x, y);
  return select(lt(abs(x), k(x, infinity)), y, x - x);
}

}  // namespace phlox::math
