// The exponential family: exp, exp2, expm1, sigmoid and its kin, tanh.
//
// All reduce x = n ln2 + r, |r| <= ln2/2, evaluate e^r - 1 = r + r^2 q(r), and scale by 2^n in two steps so
// that subnormal results round once. Overflow gives inf, NaN stays NaN.
#pragma once
#include "loop/math_base.h"

namespace phlox::math {

// x = n ln2 + r + r_lo = n ln2 + head + low, head exact; n is carried as the integer bits of a shifted float.
template <ScalarValue V>
struct ExpParts {
  V shifted, r, r_lo, head, low;
};

// `extra`, if given, is a low part of x.
template <ScalarValue V>
ExpParts<V> exp_reduce(const V& x, const V* extra = nullptr) {
  bool d = is_f64(x);
  V shift = k(x, round_shift(x));
  V shifted = fma(x, k(x, 0x1.71547652b82fep+0), shift);
  V n = shifted - shift;
  // The high part of ln2 has so few bits that n * high is exact; so is the difference.
  V head = fma(n, k(x, d ? -0x1.62e42fefa0000p-1 : -0x1.62e4p-1), x);
  V low = k(x, d ? -0x1.cf79abc9e3b3ap-40 : -0x1.7f7d1cp-20);
  low = extra ? fma(n, low, *extra) : n * low;
  V r = head + low;
  return {shifted, r, low - (r - head), head, low};
}
// q(r) of e^r = 1 + r + r^2 q(r).
template <ScalarValue V>
V exp_q(const V& r) {
  return is_f64(r) ? math::poly2(r, {0.50000000000000111, 0.16666666666666416, 0.041666666666525548,
                                     0.0083333333334898261, 0.0013888888944955948, 0.00019841269521282906,
                                     2.4801491639728462e-5, 2.7557569753662814e-6, 2.7630792484546816e-7,
                                     2.5006255220435839e-8})
                   : math::poly(r, {0.49999994, 0.166665152, 0.0416680872, 0.00836929958, 0.00138383347});
}
// The same, accurate relative to e^r - 1 itself.
template <ScalarValue V>
V expm1_q(const V& r) {
  return is_f64(r) ? math::poly2(r, {0.5, 0.1666666666666668, 0.04166666666666672, 0.0083333333333189385,
                                     0.001388888888884247, 0.00019841269893322157, 2.4801587426898735e-5,
                                     2.7557236783708076e-6, 2.7557178975123771e-7, 2.5111650401850824e-8,
                                     2.0944548393399736e-9})
                   : math::poly(r, {0.49999997, 0.166665375, 0.0416677482, 0.00836735126, 0.00138357712});
}
// 2^(n + offset), in the normal range, from the shifted form.
template <ScalarValue V>
V exp_scale(const V& shifted, int offset = 0) {
  auto b = bits(shifted);
  int64_t bias = (is_f64(shifted) ? 1023 : 127) + offset;
  return from_bits(shifted, (b + ki(b, bias - round_shift_bits(shifted))) << mantissa_bits(shifted));
}
// p * 2^n, rounded once, in the one instruction that some machines have for it; it gives the same bits as the other forms.
template <ScalarValue V>
V exp_rescale_at_once(const V& p, const V& shifted) {
  return scale_exponent(p, shifted - k(p, round_shift(p)), shifted);
}
// p * 2^n for n from -166 (f32) or -1100 (f64) to 0, in fewer operations than the general form.
template <ScalarValue V>
V exp_rescale_down(const V& p, const V& shifted) {
  if constexpr (requires { scale_exponent(p, p, p); }) {
    if (has_tables(p)) return math::exp_rescale_at_once(p, shifted);
  }
  int extra = is_f64(p) ? 512 : 64;
  return p * math::exp_scale(shifted, extra) * k(p, is_f64(p) ? 0x1p-512 : 0x1p-64);
}
// p * 2^n for any n that a clamped argument can give.
template <ScalarValue V>
V exp_rescale(const V& p, const V& shifted) {
  if constexpr (requires { scale_exponent(p, p, p); }) {
    if (has_tables(p)) return math::exp_rescale_at_once(p, shifted);
  }
  auto b = bits(shifted);
  return math::scale_biased(p, b + ki(b, 2 * (is_f64(p) ? 1023 : 127) - round_shift_bits(shifted)));
}
// x where e^x overflows or x e^x vanishes at the latest.
template <ScalarValue V>
V exp_clamp(const V& x) {
  return math::at_least(math::at_most(x, is_f64(x) ? 710.5 : 89.0), is_f64(x) ? -760.0 : -115.0);
}

template <ScalarValue V>
V exp(const V& x) {
  ExpParts<V> e = math::exp_reduce(math::exp_clamp(x));
  V p = fma(e.r * e.r, math::exp_q(e.r), e.r) + k(x, 1);
  return math::exp_rescale(p, e.shifted);
}

template <ScalarValue V>
V exp2(const V& x) {
  V c = math::at_least(math::at_most(x, is_f64(x) ? 1025.0 : 129.0), is_f64(x) ? -1076.0 : -151.0);
  V shift = k(x, round_shift(x));
  V shifted = c + shift;
  V r = c - (shifted - shift);
  V q = is_f64(x) ? math::poly2(r, {0.69314718055994529, 0.24022650695910069, 0.05550410866482338,
                                    0.0096181291076302376, 0.0013333558146033009, 0.00015403530388864757,
                                    1.5252734167675403e-5, 1.3215491349506258e-6, 1.0177931761908729e-7,
                                    7.0529463868554679e-9, 4.4734293003344762e-10, 2.8723177358902511e-11})
                  : math::poly(r, {0.693147242, 0.240226552, 0.0555027276, 0.00961706508, 0.0013417633,
                                   0.00015822248});
  return math::exp_rescale(fma(r, q, k(x, 1)), shifted);
}

// (e^x - 1) 2^offset as hi + lo (not normalised), for x up to the overflow of that and not below -80.
template <ScalarValue V>
Two<V> scaled_expm1(const V& x, int offset) {
  ExpParts<V> e = math::exp_reduce(x);
  V tail = fma(e.r * e.r, math::expm1_q(e.r), e.r_lo);
  V s = math::exp_scale(e.shifted, offset);
  // s - 2^offset and s r are exact, and in this order so is their sum.
  V base = s - k(x, offset == -1 ? 0.5 : 0.25), linear = s * e.r;
  V hi = base + linear;
  return {hi, fma(s, tail, linear - (hi - base))};
}
template <ScalarValue V>
Two<V> half_expm1(const V& x) {
  return math::scaled_expm1(x, -1);
}

template <ScalarValue V>
V expm1(const V& x) {
  V c = math::at_least(math::at_most(x, is_f64(x) ? 709.9 : 88.8), is_f64(x) ? -50.0 : -25.0);
  Two<V> h = math::half_expm1(c);
  V y = h.hi + h.lo;
  // Below 2^-60 (2^-30) e^x - 1 is x, and halving could lose a subnormal's last bit.
  return select(lt(abs(x), k(x, is_f64(x) ? 0x1p-60 : 0x1p-30)), x, y + y);
}

template <ScalarValue V>
V tanh(const V& x) {
  // tanh |x| = -m / (m + 1) with m = (e^(-2|x|) - 1) / 2, the quotient corrected by its remainder. Halves
  // keep tiny and subnormal |x| exact.
  V ax = math::at_most(abs(x), is_f64(x) ? 24.0 : 12.0);
  Two<V> m = math::half_expm1(k(x, -2) * ax);
  m = math::fast_two_sum(m.hi, m.lo);
  V one = k(x, 1);
  Two<V> d = math::fast_two_sum(one, m.hi);
  d.lo = d.lo + m.lo;
  return math::copy_sign(math::quotient(m, d), x);
}

// 1 / (1 + e^-x), through e^-|x| so that both tails keep their relative accuracy.
template <ScalarValue V>
V sigmoid(const V& x) {
  V one = k(x, 1);
  ExpParts<V> parts = math::exp_reduce(math::at_least(-abs(x), is_f64(x) ? -760.0 : -115.0));
  V p = fma(parts.r * parts.r, math::exp_q(parts.r), parts.r) + one;
  V e = math::exp_rescale_down(p, parts.shifted);
  return math::quotient(select(lt(x, k(x, 0)), e, one), math::fast_two_sum(one, e));
}
// x sigmoid(x). The factor x enters before e^x is scaled, so that a subnormal sigmoid costs no digits.
template <ScalarValue V>
V silu(const V& x) {
  double lowest = is_f64(x) ? -760.0 : -115.0;
  ExpParts<V> e = math::exp_reduce(math::at_least(-abs(x), lowest));
  V one = k(x, 1);
  V p = fma(e.r * e.r, math::exp_q(e.r), e.r) + one;
  V num = select(lt(x, k(x, 0)), math::exp_rescale_down(math::at_least(x, lowest) * p, e.shifted), x);
  V y = math::quotient(num, math::fast_two_sum(one, math::exp_rescale_down(p, e.shifted)));
  // The correction would turn -0 into 0 and infinity into NaN.
  return select(logical_or(eq(num, k(x, 0)), eq(x, k(x, infinity))), num, y);
}

}  // namespace phlox::math
