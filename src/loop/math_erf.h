// The normal distribution's family: erf, erfc, normal_cdf, gelu.
//
// All but erf near 0 come from one tail: for t >= 0, Phi(-t) = e^(-t^2/2) (c/2 + u T(u)) / (t + c), with
// u = t / (t + a) and T a polynomial. With c = 3/4 the bracket stays between 0.37 and 0.47, so neither u nor
// T needs more than the working precision. The square is split exactly, because a rounded square in an
// exponent costs t^2/2 units in the last place.
#pragma once
#include "loop/math_exp.h"

namespace phlox::math {

// The number (mantissa.hi + mantissa.lo) * scale.
template <ScalarValue V>
struct Scaled {
  Two<V> mantissa;
  V scale;
};

// exp_q, for f32 with one coefficient more.
template <ScalarValue V>
V tail_q(const V& r) {
  return is_f64(r)
             ? math::exp_q(r)
             : math::poly(r, {0.5, 0.166666359, 0.0416665114, 0.00834156387, 0.00139305939, 0.000149801257});
}

// The bracket 3/8 + u T in two words, and 1 / (t + c) = inverse (1 + error).
template <ScalarValue V>
struct TailRatio {
  Two<V> bracket;
  V inverse, error;
};
template <ScalarValue V>
TailRatio<V> tail_ratio(const V& t, const V* t_lo = nullptr) {
  bool wide = is_f64(t);
  V c = k(t, 0.75), one = k(t, 1);
  V d = t + c;
  V d_lo = t - (d - c);  // c is so coarse that d - c is exact
  if (t_lo) d_lo = d_lo + *t_lo;
  V inverse = one / d;
  V u = t / (t + k(c, wide ? 5 : 2.5));
  V v = u - k(u, 0.4375);
  // In f64 only the high powers go in two chains: the low ones would lose digits to each other at large t.
  V p = wide ? math::poly_over(
                   v,
                   math::poly2(v, {1.2450942385022208, -0.2763045732725537, -0.27397912905955241,
                                   0.2607765226475946, -0.00044084503348010713, -0.11889426158520133,
                                   0.033665611926935776, 0.053438297074856221, -0.025224125793375175,
                                   -0.02775047861576195, 0.014982243673992087, 0.016931905339284927,
                                   -0.0081624168369787368, -0.010607907099241897, 0.0044883681786560305,
                                   0.0046264825464946745, -0.0022279922034825158}),
                   {0.16962069076175637, -0.63654675306304287, 1.3308096447591464, -2.0379938159885342,
                    2.3924112026153166, -2.1055359692924283})
             : math::poly2(v, {0.200030327, -0.528405249, 0.42025876, 0.04180656, -0.20588544, -0.0532561913,
                               0.115011066, 0.0849458575, -0.0447761603, -0.067367062});
  V g = fma(u, p, k(c, 0.375));
  // The difference is exact, so fma finds what the sum lost.
  return {{g, fma(u, p, k(c, 0.375) - g)}, inverse, fma(-inverse, d_lo, fma(-inverse, d, one))};
}
// Phi(-t) e^(t^2/2) for t >= 0.
template <ScalarValue V>
V normal_ratio(const V& t) {
  TailRatio<V> r = math::tail_ratio(t);
  V q = r.bracket.hi * r.inverse;
  return q + fma(fma(r.bracket.hi, r.error, r.bracket.lo), r.inverse, fma(r.bracket.hi, r.inverse, -q));
}

// Phi(-t) for t = t + t_lo in [0, 39] (f64) or [0, 14.5] (f32), given square = t^2/2 and the ratio at t.
template <ScalarValue V>
Scaled<V> normal_tail(const TailRatio<V>& ratio, const Two<V>& square) {
  V g = ratio.bracket.hi;
  V low = -square.lo;
  ExpParts<V> e = math::exp_reduce(-square.hi, &low);
  // That times e^r, again with what the sum lost.
  V n = fma(g, e.head, g);
  V n_lo = fma(g, e.head, g - n) + fma(g, fma(e.r * e.r, math::tail_q(e.r), e.low), ratio.bracket.lo);
  V q = n * ratio.inverse;
  V q_lo = fma(fma(n, ratio.error, n_lo), ratio.inverse, fma(n, ratio.inverse, -q));
  // The mantissa is below 1/2, so where 2^n itself vanishes the result does too.
  return {{q, q_lo}, math::exp_rescale_down(k(q, 1), e.shifted)};
}
template <ScalarValue V>
Scaled<V> normal_tail(const V& x) {
  V t = math::at_most(abs(x), is_f64(x) ? 39.0 : 14.5);
  return math::normal_tail(math::tail_ratio(t), math::two_product(t, t * k(t, 0.5)));
}

// whole - tail where `upper`, the tail elsewhere: rounded once either way.
template <ScalarValue V, class B>
V one_of_two_sides(const Scaled<V>& s, const B& upper, double whole) {
  V one = k(s.scale, whole);
  V rest = fma(-s.mantissa.hi, s.scale, one);
  V above = rest + fma(-s.mantissa.lo, s.scale, fma(-s.mantissa.hi, s.scale, one - rest));
  return select(upper, above, (s.mantissa.hi + s.mantissa.lo) * s.scale);
}

// Phi in f32, by tables: about the next multiple c of 1/2, Phi(-(c + v)) = scale e^(rest - c v + s(v)), where c v is exact
// (at most five bits by nineteen) and |s| small, so that nothing needs a second word. A third of the operations of the
// other form, and no division.
template <ScalarValue V>
V normal_cdf_by_tables(const V& x) {
  V t = math::at_most(abs(x), 14.5);
  V lattice = k(x, 0x1.8p22);  // adding it rounds to a multiple of 1/2 and leaves twice that in the low bits
  V placed = t + lattice;
  auto segment = bits(placed);
  V c = placed - lattice, v = t - c, z = c * v;
  // A little more than 1/ln2: s(v) mostly adds to z, so the rest stays smaller.
  V shift = k(x, round_shift(x)), shifted = fma(z, k(x, -1.4859803), shift);
  V r = fma(shifted - shift, k(x, -0x1.62e42fefa39efp-1), -z) + lookup(x, normal_cdf_rest, segment);
  V s = fma(k(x, -0.000202717594), v, lookup(x, normal_cdf_s4, segment));
  s = fma(s, v, lookup(x, normal_cdf_s3, segment));
  s = fma(s, v, lookup(x, normal_cdf_s2, segment));
  r = fma(fma(s, v, lookup(x, normal_cdf_s1, segment)), v, r);
  V p = fma(r * r, math::poly(r, {0.499999732, 0.16666308, 0.0416710973, 0.00838887505, 0.00137667474}), r);
  V scale = from_bits(x, bits(lookup(x, normal_cdf_scale, segment)) + (bits(shifted) << mantissa_bits(x)));
  V tail = fma(scale, p, scale) * k(x, 0x1p-64);
  return select(lt(x, k(x, 0)), tail, k(x, 1) - tail);
}
// The standard normal distribution function.
template <ScalarValue V>
V normal_cdf(const V& x) {
  if (!is_f64(x) && has_tables(x)) return math::normal_cdf_by_tables(x);
  return math::one_of_two_sides(math::normal_tail(x), gt(x, k(x, 0)), 1);
}
// x Phi(x). For negative x the factor x enters before the tail is scaled, so that results keep their accuracy
// down to the last subnormal.
template <ScalarValue V>
V gelu(const V& x) {
  Scaled<V> s = math::normal_tail(x);
  auto positive = gt(x, k(x, 0));
  V below = ((s.mantissa.hi + s.mantissa.lo) * math::at_least(x, -64.0)) * s.scale;
  return select(positive, x * math::one_of_two_sides(s, positive, 1), below);
}

template <ScalarValue V>
V erfc(const V& x) {
  // erfc(x) = 2 Phi(-sqrt(2) x)
  bool d = is_f64(x);
  V y = math::at_most(abs(x), d ? 27.4 : 10.2);
  Two<V> t = math::two_product(y, k(x, d ? 0x1.6a09e667f3bcdp+0 : 0x1.6a09e6p+0));
  t.lo = fma(y, k(x, d ? -0x1.bdd3413b26456p-54 : 0x1.9fcef4p-26), t.lo);
  Scaled<V> s = math::normal_tail(math::tail_ratio(t.hi, &t.lo), math::two_product(y, y));
  s.scale = s.scale + s.scale;
  return math::one_of_two_sides(s, lt(x, k(x, 0)), 2);
}

// erf(x) / x - 1 as a polynomial in z = x^2 <= 1.
template <ScalarValue V>
V erf_small(const V& z) {
  return is_f64(z) ? math::poly2(z, {0.12837916709551259, -0.37612638903184109, 0.11283791670972064,
                                     -0.026866170648280913, 0.00522397765568297, -0.00085483287351183527,
                                     0.00012055394321676748, -1.4927094570195993e-5, 1.6484724323164586e-6,
                                     -1.6598262440847976e-7, 1.630321514883778e-8, -1.7630590131187075e-9,
                                     1.6382190933498211e-10})
                   : math::poly(z, {0.128379166, -0.376126289, 0.112836249, -0.0268556755, 0.00519228168,
                                    -0.000804892043, 7.99634654e-5});
}
template <ScalarValue V>
V erf(const V& x) {
  V ax = abs(x), one = k(x, 1), large = x;
  V small = fma(x, math::erf_small(x * x), x);
  if (is_f64(x)) {
    large = one - math::erfc(math::at_least(math::at_most(ax, 6.0), 0.5));
  } else {
    // 1 - e^(-g), g = -ln erfc |x|
    V t = math::at_most(ax, 3.93);
    V g = math::poly(t, {-0.000184938122, 1.12956369, 0.633249342, 0.108386509, -0.0251877289, 0.0041968436,
                         -0.000439758966, 2.15516848e-5});
    V shift = k(x, round_shift(x));
    V shifted = fma(g, k(x, -0x1.71547652b82fep+0), shift);
    V r = fma(shifted - shift, k(x, -0x1.62e42fefa39efp-1), -g);
    large = fma(-math::exp_scale(shifted), one + fma(r * r, math::exp_q(r), r), one);
  }
  return select(gt(ax, k(x, 0.96)), math::with_sign_of(large, x), small);
}

}  // namespace phlox::math
