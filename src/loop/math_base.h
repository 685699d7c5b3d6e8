// Building blocks of the scalar functions: the value concept, constants, polynomials, double-word arithmetic.
//
// Every function of math_*.h is ONE text over a small value handle V, so the kernel compiler (V builds SSA),
// the interpreter (V is a block of elements) and the tests (V is one number) compute the same bits.
// Invariants: no control flow depends on values (branch-free, vectorises), tables only of 32 f32 numbers (two registers),
// IEEE arithmetic in the written order, fused multiply-add exactly where fma() is written. Only f32 and f64 enter; 16-bit types
// compute in f32.
#pragma once
#include <concepts>
#include <cstdint>
#include <initializer_list>

#include "loop/math_tables.h"

namespace phlox::math {

// What V supplies, found by argument-dependent look-up. Comparisons give a boolean value, bits() an integer
// value of the same size; those may be other C++ types than V. is_f64 is known while the text is built, never
// per element.
template <class V>
concept ScalarValue = std::copyable<V> && requires(V a, V b, int n) {
  { a + b } -> std::same_as<V>;
  { a - b } -> std::same_as<V>;
  { a* b } -> std::same_as<V>;
  { a / b } -> std::same_as<V>;
  { -a } -> std::same_as<V>;
  { fma(a, b, a) } -> std::same_as<V>;
  { sqrt(a) } -> std::same_as<V>;
  { abs(a) } -> std::same_as<V>;
  { floor(a) } -> std::same_as<V>;
  { trunc(a) } -> std::same_as<V>;
  { round_even(a) } -> std::same_as<V>;
  { constant(a, 1.0) } -> std::same_as<V>;
  { is_f64(a) } -> std::convertible_to<bool>;
  { select(lt(a, b), a, b) } -> std::same_as<V>;
  { select(logical_and(le(a, b), logical_or(gt(a, b), logical_not(ge(a, b)))), a, b) } -> std::same_as<V>;
  { select(logical_or(eq(a, b), logical_and(ne(a, b), is_nan(a))), a, b) } -> std::same_as<V>;
  { from_bits(a, ((bits(a) + bits(b)) - constant_int(bits(a), 1)) << n) } -> std::same_as<V>;
  { from_bits(a, lshr(bits(a), n) | (ashr(bits(a), n) & (bits(b) ^ bits(a)))) } -> std::same_as<V>;
  { to_float(a, to_int(a)) } -> std::same_as<V>;
  { has_tables(a) } -> std::convertible_to<bool>;
  { lookup(a, Table(), bits(a)) } -> std::same_as<V>;  // f32: tables[t][the low five bits]
};

template <ScalarValue V>
V k(const V& like, double value) {
  return constant(like, value);
}
template <class I>
I ki(const I& like, int64_t value) {
  return constant_int(like, value);
}

constexpr double infinity = __builtin_inf();
constexpr double not_a_number = __builtin_nan("");

// c[0] + x c[1] + x^2 c[2] + ... by Horner's rule, one fma a step.
template <ScalarValue V>
V poly(const V& x, std::initializer_list<double> c) {
  const double* p = c.end() - 1;
  V r = k(x, *p);
  while (p != c.begin()) r = fma(r, x, k(x, *--p));
  return r;
}
// The polynomial whose next coefficients, after c, are those of `top`.
template <ScalarValue V>
V poly_over(const V& x, V top, std::initializer_list<double> c) {
  for (const double* p = c.end(); p != c.begin();) top = fma(top, x, k(x, *--p));
  return top;
}
// The same coefficients as two interleaved chains: half the latency for one more operation. For long f64
// polynomials.
template <ScalarValue V>
V poly2(const V& x, std::initializer_list<double> c) {
  V z = x * x;
  const double* p = c.begin();
  int n = int(c.size());
  int even = (n - 1) & ~1, odd = (n - 2) | 1;
  if (odd > n - 1) odd -= 2;
  V e = k(x, p[even]), o = k(x, p[odd]);
  for (int i = even - 2; i >= 0; i -= 2) e = fma(e, z, k(x, p[i]));
  for (int i = odd - 2; i >= 0; i -= 2) o = fma(o, z, k(x, p[i]));
  return fma(o, x, e);
}

// The clamps keep NaN: a comparison with NaN is false and picks x.
template <ScalarValue V>
V at_most(const V& x, double hi) {
  V h = k(x, hi);
  return select(lt(h, x), h, x);
}
template <ScalarValue V>
V at_least(const V& x, double lo) {
  V l = k(x, lo);
  return select(gt(l, x), l, x);
}

// An f64 value rounded to the f32 of `like`. Where f32 and f64 are different C++ types, the f64 instance of a
// text that works in f64 for f32 still has to compile, though it never gets here.
template <ScalarValue V, ScalarValue W>
V narrow(const V&, const W& w) {
  if constexpr (requires {
                  { to_f32(w) } -> std::same_as<V>;
                }) {
    return to_f32(w);
  } else {
    return w;
  }
}

template <ScalarValue V>
int mantissa_bits(const V& x) {
  return is_f64(x) ? 52 : 23;
}
template <ScalarValue V>
int64_t sign_mask(const V& x) {
  return is_f64(x) ? INT64_MIN : int64_t(INT32_MIN);
}
template <ScalarValue V>
double max_finite(const V& x) {
  return is_f64(x) ? 0x1.fffffffffffffp1023 : 0x1.fffffep127;
}

// |value| with the sign bit of `sign`; value must not be negative.
template <ScalarValue V>
V with_sign_of(const V& value, const V& sign) {
  auto b = bits(sign);
  return from_bits(value, bits(value) | (b & ki(b, sign_mask(sign))));
}
template <ScalarValue V>
V copy_sign(const V& value, const V& sign) {
  return math::with_sign_of(abs(value), sign);
}
// value, negated where `sign` has its sign bit set.
template <ScalarValue V>
V flip_sign_by(const V& value, const V& sign) {
  auto b = bits(sign);
  return from_bits(value, bits(value) ^ (b & ki(b, sign_mask(sign))));
}

// Adding this to |t| <= 2^21 (f32) or 2^50 (f64) rounds t to an integer that sits in the low mantissa bits:
// rounding and conversion in one addition, also where the target has no 64-bit conversion.
template <ScalarValue V>
double round_shift(const V& x) {
  return is_f64(x) ? 0x1.8p52 : 0x1.8p23;
}
template <ScalarValue V>
int64_t round_shift_bits(const V& x) {
  return is_f64(x) ? 0x4338000000000000 : 0x4b400000;
}
// A small signed integer value as a float, by the same trick.
template <ScalarValue V, class I>
V small_to_float(const V& like, const I& i) {
  if (!is_f64(like)) return to_float(like, i);
  return from_bits(like, i + ki(i, round_shift_bits(like))) - k(like, round_shift(like));
}
// 2^n for an integer value n in the normal exponent range.
template <ScalarValue V, class I>
V power_of_two(const V& like, const I& n) {
  return from_bits(like, (n + ki(n, is_f64(like) ? 1023 : 127)) << mantissa_bits(like));
}
// p * 2^n, given n + 2 bias, for |n| < 1.9 * exponent range; rounds once (subnormal results included). The
// bias comes before the halving because 64-bit arithmetic shifts are slow on AVX2.
template <ScalarValue V, class I>
V scale_biased(const V& p, const I& biased) {
  int m = mantissa_bits(p);
  I half = lshr(biased, 1);
  return p * from_bits(p, half << m) * from_bits(p, (biased - half) << m);
}
template <ScalarValue V, class I>
V scale_by(const V& p, const I& n) {
  return math::scale_biased(p, n + ki(n, 2 * (is_f64(p) ? 1023 : 127)));
}

// Double-word numbers: the unevaluated sum hi + lo with |lo| <= ulp(hi)/2 or so.
template <ScalarValue V>
struct Two {
  V hi, lo;
};
// Exact a + b when |a| >= |b| or a == 0.
template <ScalarValue V>
Two<V> fast_two_sum(const V& a, const V& b) {
  V s = a + b;
  return {s, b - (s - a)};
}
template <ScalarValue V>
Two<V> two_sum(const V& a, const V& b) {
  V s = a + b;
  V t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
template <ScalarValue V>
Two<V> two_product(const V& a, const V& b) {
  V p = a * b;
  return {p, fma(a, b, -p)};
}
template <ScalarValue V>
Two<V> times(const Two<V>& a, const Two<V>& b) {
  Two<V> p = math::two_product(a.hi, b.hi);
  return math::fast_two_sum(p.hi, fma(a.hi, b.lo, fma(a.lo, b.hi, p.lo)));
}  // (n.hi + n.lo) / (d.hi + d.lo): the quotient by the reciprocal, corrected by its remainder; d.hi's
   // reciprocal must be
// normal. Costs one division and about four operations, and leaves little more than one rounding.
template <ScalarValue V>
V quotient(const Two<V>& n, const Two<V>& d) {
  V inverse = k(d.hi, 1) / d.hi;
  V q = n.hi * inverse;
  V rem = fma(-q, d.hi, n.hi) + fma(-q, d.lo, n.lo);
  return fma(rem, inverse, q);
}
template <ScalarValue V>
V quotient(const V& n, const Two<V>& d) {
  V inverse = k(d.hi, 1) / d.hi;
  V q = n * inverse;
  return fma(fma(-q, d.lo, fma(-q, d.hi, n)), inverse, q);
}

}  // namespace phlox::math
