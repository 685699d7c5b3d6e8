// The normal distribution's family: erf, erfc, normal_cdf, gelu.
//
// Tails are e^(-t^2/2) times a slowly varying factor; the square is split exactly, because a rounded square in an
// exponent costs t^2/2 units in the last place.
#pragma once
#include "loop/math_exp.h"

namespace phlox::math {

// A tail as e^-square * s / d, all in two words.
template <ScalarValue V>
struct Tail {
  Two<V> square, s, d;
};
// s e^-square: the mantissa in two words, and the shifted n of its factor 2^n.
template <ScalarValue V>
Two<V> tail_numerator(const Tail<V>& t, const ExpParts<V>& e) {
  V tail = fma(e.r * e.r, math::exp_q(e.r), e.r_lo);
  if (is_f64(e.r)) {  // the linear term in two words
    Two<V> linear = math::two_product(t.s.hi, e.r);
    Two<V> n = math::fast_two_sum(t.s.hi, linear.hi);
    return {n.hi, n.lo + (linear.lo + fma(t.s.hi, tail, t.s.lo))};
  }
  V m = e.r + tail;
  return math::fast_two_sum(t.s.hi, fma(t.s.hi, m, t.s.lo));
}
template <ScalarValue V>
ExpParts<V> tail_exponent(const Tail<V>& t) {
  V low = -t.square.lo;
  return math::exp_reduce(-t.square.hi, &low);
}
template <ScalarValue V>
V tail_value(const Tail<V>& t) {
  ExpParts<V> e = math::tail_exponent(t);
  Two<V> n = math::tail_numerator(t, e);
  return math::exp_rescale(math::quotient(n, t.d), e.shifted);
}

// erfcx(t) (1 + 2 t) in two words, f64, t >= 0.45.
template <ScalarValue V>
Two<V> scaled_erfcx(const V& t) {
  V u = (t - k(t, 4)) / (t + k(t, 4));
  V p = u * math::poly2(u, {-0.1396211168405625, 0.015379652102619721, 0.068097054254688677, -0.10103906603630139,
                            0.093732834998523182, -0.066330365812327999, 0.037167515534033919, -0.016197734055930474,
                            0.0050319700158296017, -0.00075777330600147361, -0.00019925694717754674,
                            0.00015062177506270491, -2.439813320219433e-5, -1.1222393603497357e-5,
                            5.7066897404541541e-6, 2.9466952950167317e-7, -8.1981212400821993e-7,
                            7.3379962849489813e-8, 1.0351852531479719e-7, -1.6900540872133954e-8,
                            -9.7481693131223072e-9, 1.4879840357196088e-9});
  return math::fast_two_sum(k(t, 1.2329951186255526), p);
}
// t e^(t^2/2) Phi(-t) in two words, f32, t >= 1.
template <ScalarValue V>
Two<V> scaled_tail(const V& t) {
  V u = (t - k(t, 1.859375)) / (t + k(t, 1.859375));
  V p = u * math::poly(u, {0.18141374, -0.147717521, 0.0189450979, 0.0212651696, 0.000311257318, -0.00441796705,
                           -0.00193545059, 0.000883121393, 0.000415393384});
  return math::fast_two_sum(k(t, 0.329788953), p);
}

// x with |x| <= 1: erf(x) / x - 1 as a polynomial in z = x^2.
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
// Phi(-t) for t in [1, 39], where (square, t) are t^2/2 and t, or erfc(x)/2 where they are x^2 and sqrt(2) x.
template <ScalarValue V>
Tail<V> normal_tail(const Two<V>& square, const Two<V>& t) {
  if (!is_f64(t.hi)) return {square, math::scaled_tail(t.hi), t};
  // Phi(-t) = e^(-t^2/2) erfcx(t/sqrt 2) / 2
  Two<V> root{k(t.hi, 0x1.6a09e667f3bcdp-1), k(t.hi, -0x1.bdd3413b26456p-55)};
  Two<V> y = math::times(t, root);
  Two<V> d = math::two_sum(k(t.hi, 1), y.hi + y.hi);
  V two = k(t.hi, 2);
  return {square, math::scaled_erfcx(y.hi), {two * d.hi, two * (d.lo + two * y.lo)}};
}
template <ScalarValue V>
Tail<V> normal_tail(const V& t) {
  return math::normal_tail(math::two_product(t, t * k(t, 0.5)), Two<V>{t, k(t, 0)});
}
template <ScalarValue V>
V clamp_tail(const V& x) {
  return math::at_least(math::at_most(abs(x), is_f64(x) ? 39.0 : 14.5), 1.0);
}
// Phi(x) for |x| <= 1: 1/2 + c x + (rest), the first sum in two words.
template <ScalarValue V>
V normal_centre(const V& x) {
  bool d = is_f64(x);
  V half = k(x, 0.5);
  V c = k(x, d ? 0x1.6a09e667f3bcdp-2 : 0x1.988454p-2);
  Two<V> linear = math::two_product(x, c);
  Two<V> head = math::fast_two_sum(half, linear.hi);
  V sum = head.hi, lost = head.lo + linear.lo;
  V z = x * x;
  if (d) return sum + fma(x * c, math::erf_small(z * half), fma(x, k(x, -0x1.bdd3413b26456p-56), lost));
  V p = math::poly(z, {-0.0664905384, 0.00997416303, -0.00118802011, 0.000115019386, -8.17001001e-6});
  return sum + fma(x * z, p, lost);
}

// The standard normal distribution function.
template <ScalarValue V>
V normal_cdf(const V& x) {
  V tail = math::tail_value(math::normal_tail(math::clamp_tail(x)));
  V far = select(lt(x, k(x, 0)), tail, k(x, 1) - tail);
  return select(gt(abs(x), k(x, 1)), far, math::normal_centre(x));
}
// x Phi(x). For x < -1 the factor x enters before the rounding, so results keep their accuracy down to the last subnormal.
template <ScalarValue V>
V gelu(const V& x) {
  V t = math::clamp_tail(x);
  Tail<V> parts = math::normal_tail(t);
  V tail = t, upper = t;
  if (is_f64(x)) {
    Two<V> ts = math::two_product(parts.s.hi, t);
    ts.lo = fma(parts.s.lo, t, ts.lo);
    upper = math::tail_value(parts);
    parts.s = ts;
    tail = math::tail_value(parts);
  } else {
    ExpParts<V> e = math::tail_exponent(parts);
    Two<V> n = math::tail_numerator(parts, e);
    tail = math::exp_rescale(n.hi, e.shifted);
    upper = tail / t;
  }
  V near = x * select(gt(x, k(x, 1)), k(x, 1) - upper, math::normal_centre(x));
  return select(lt(x, k(x, -1)), -tail, near);
}

// erfc(x) for x in [0.71, 27.4]
template <ScalarValue V>
V erfc_tail(const V& x) {
  Two<V> root{k(x, is_f64(x) ? 0x1.6a09e667f3bcdp+0 : 0x1.6a09e6p+0), k(x, is_f64(x) ? -0x1.bdd3413b26456p-54 : 0x1.9fcef4p-26)};
  Two<V> t = math::two_product(x, root.hi);
  t.lo = fma(x, root.lo, t.lo);
  Tail<V> tail = math::normal_tail(math::two_product(x, x), t);
  tail.s = {tail.s.hi + tail.s.hi, tail.s.lo + tail.s.lo};
  return math::tail_value(tail);
}
template <ScalarValue V>
V erfc(const V& x) {
  V one = k(x, 1);
  V tail = math::erfc_tail(math::at_least(math::at_most(abs(x), is_f64(x) ? 27.4 : 10.2), 0.71));
  V far = select(lt(x, k(x, 0)), k(x, 2) - tail, tail);
  Two<V> near = math::fast_two_sum(one, -x);  // 1 - x - x P
  V centre = near.hi + fma(-x, math::erf_small(x * x), near.lo);
  return select(gt(abs(x), k(x, 0.71)), far, centre);
}

template <ScalarValue V>
V erf(const V& x) {
  V ax = abs(x), one = k(x, 1), large = x;
  V small = fma(x, math::erf_small(x * x), x);
  if (is_f64(x)) {
    large = one - math::erfc_tail(math::at_least(math::at_most(ax, 6.0), 0.71));
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
