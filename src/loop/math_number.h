// One number as a value of the scalar functions: what they mean, without a compiler or an interpreter in between.
// For host code that needs single results, and for tests; loops over blocks belong to loop/scalar_math.h.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "loop/math.h"

namespace phlox::native {

template <class F>
struct Num {
  F v;
};
template <class I>
struct Int {
  I v;
};
struct Flag {
  bool v;
};
template <class F>
using int_of = std::conditional_t<sizeof(F) == 8, int64_t, int32_t>;
template <class I>
using unsigned_of = std::make_unsigned_t<I>;

template <class F> Num<F> operator+(Num<F> a, Num<F> b) { return {a.v + b.v}; }
template <class F> Num<F> operator-(Num<F> a, Num<F> b) { return {a.v - b.v}; }
template <class F> Num<F> operator*(Num<F> a, Num<F> b) { return {a.v * b.v}; }
template <class F> Num<F> operator/(Num<F> a, Num<F> b) { return {a.v / b.v}; }
template <class F> Num<F> operator-(Num<F> a) { return {-a.v}; }
template <class F> Num<F> fma(Num<F> a, Num<F> b, Num<F> c) { return {std::fma(a.v, b.v, c.v)}; }
template <class F> Num<F> sqrt(Num<F> a) { return {std::sqrt(a.v)}; }
template <class F> Num<F> abs(Num<F> a) { return {std::fabs(a.v)}; }
template <class F> Num<F> floor(Num<F> a) { return {std::floor(a.v)}; }
template <class F> Num<F> trunc(Num<F> a) { return {std::trunc(a.v)}; }
template <class F> Num<F> round_even(Num<F> a) { return {std::nearbyint(a.v)}; }
template <class F> Flag lt(Num<F> a, Num<F> b) { return {a.v < b.v}; }
template <class F> Flag le(Num<F> a, Num<F> b) { return {a.v <= b.v}; }
template <class F> Flag gt(Num<F> a, Num<F> b) { return {a.v > b.v}; }
template <class F> Flag ge(Num<F> a, Num<F> b) { return {a.v >= b.v}; }
template <class F> Flag eq(Num<F> a, Num<F> b) { return {a.v == b.v}; }
template <class F> Flag ne(Num<F> a, Num<F> b) { return {a.v != b.v}; }
template <class F> Flag is_nan(Num<F> a) { return {a.v != a.v}; }
inline Flag logical_and(Flag a, Flag b) { return {a.v && b.v}; }
inline Flag logical_or(Flag a, Flag b) { return {a.v || b.v}; }
inline Flag logical_not(Flag a) { return {!a.v}; }
template <class T> T select(Flag c, T a, T b) { return c.v ? a : b; }
template <class F> Num<F> constant(Num<F>, double v) { return {F(v)}; }
template <class F> bool is_f64(Num<F>) { return sizeof(F) == 8; }
template <class F> Int<int_of<F>> bits(Num<F> a) { return {std::bit_cast<int_of<F>>(a.v)}; }
template <class F> Num<F> from_bits(Num<F>, Int<int_of<F>> a) { return {std::bit_cast<F>(a.v)}; }
template <class F> Int<int_of<F>> to_int(Num<F> a) { return {int_of<F>(a.v)}; }
template <class F> Num<F> to_float(Num<F>, Int<int_of<F>> a) { return {F(a.v)}; }
inline Num<double> to_f64(Num<float> a) { return {double(a.v)}; }
inline Num<double> to_f64(Num<double> a) { return a; }
inline Num<float> to_f32(Num<double> a) { return {float(a.v)}; }
inline Num<float> to_f32(Num<float> a) { return a; }
template <class F> bool has_tables(Num<F>) { return true; }
template <class F> Num<F> lookup(Num<F>, math::Table t, Int<int_of<F>> i) { return {F(math::tables[t][i.v & 31])}; }
template <class I> Int<I> constant_int(Int<I>, int64_t v) { return {I(v)}; }
template <class I> Int<I> operator+(Int<I> a, Int<I> b) { return {I(unsigned_of<I>(a.v) + unsigned_of<I>(b.v))}; }
template <class I> Int<I> operator-(Int<I> a, Int<I> b) { return {I(unsigned_of<I>(a.v) - unsigned_of<I>(b.v))}; }
template <class I> Int<I> operator*(Int<I> a, Int<I> b) { return {I(unsigned_of<I>(a.v) * unsigned_of<I>(b.v))}; }
template <class I> Int<I> operator&(Int<I> a, Int<I> b) { return {I(a.v & b.v)}; }
template <class I> Int<I> operator|(Int<I> a, Int<I> b) { return {I(a.v | b.v)}; }
template <class I> Int<I> operator^(Int<I> a, Int<I> b) { return {I(a.v ^ b.v)}; }
template <class I> Int<I> operator<<(Int<I> a, int n) { return {I(unsigned_of<I>(a.v) << n)}; }
template <class I> Int<I> lshr(Int<I> a, int n) { return {I(unsigned_of<I>(a.v) >> n)}; }
template <class I> Int<I> ashr(Int<I> a, int n) { return {I(a.v >> n)}; }

static_assert(math::ScalarValue<Num<float>> && math::ScalarValue<Num<double>>);

}  // namespace phlox::native
