// loop/math.h on blocks, one number at a time.
#include <type_traits>

#include "loop/math.h"
#include "loop/scalar_math.h"

namespace phlox {

// The functions of loop/math.h under one name; f cannot be called where it does not have one.
namespace math {
namespace {
#define PHLOX_MATH_1(name) \
  struct Call_##name { template <class V> static V f(const V& a, const V&) requires requires { name(a); } { return name(a); } };
#define PHLOX_MATH_2(name) \
  struct Call_##name { template <class V> static V f(const V& a, const V& b) requires requires { name(a, b); } { return name(a, b); } };
PHLOX_MATH_FUNCTIONS(PHLOX_MATH_1, PHLOX_MATH_2)
}  // namespace
}  // namespace math

namespace {

// Everything that a value must supply, whether or not today's functions use it.
#pragma GCC diagnostic ignored "-Wunused-function"

template <class F> struct Num { F v; };
template <class I> struct Int { I v; };
struct Flag { bool v; };
template <class F> using IntOf = std::conditional_t<sizeof(F) == 8, int64_t, int32_t>;
template <class I> using Bits = std::make_unsigned_t<I>;

template <class F> Num<F> operator+(Num<F> a, Num<F> b) { return {a.v + b.v}; }
template <class F> Num<F> operator-(Num<F> a, Num<F> b) { return {a.v - b.v}; }
template <class F> Num<F> operator*(Num<F> a, Num<F> b) { return {a.v * b.v}; }
template <class F> Num<F> operator/(Num<F> a, Num<F> b) { return {a.v / b.v}; }
template <class F> Num<F> operator-(Num<F> a) { return {-a.v}; }
Num<float> fma(Num<float> a, Num<float> b, Num<float> c) { return {__builtin_fmaf(a.v, b.v, c.v)}; }
Num<double> fma(Num<double> a, Num<double> b, Num<double> c) { return {__builtin_fma(a.v, b.v, c.v)}; }
Num<float> sqrt(Num<float> a) { return {__builtin_sqrtf(a.v)}; }
Num<double> sqrt(Num<double> a) { return {__builtin_sqrt(a.v)}; }
Num<float> abs(Num<float> a) { return {__builtin_fabsf(a.v)}; }
Num<double> abs(Num<double> a) { return {__builtin_fabs(a.v)}; }
Num<float> floor(Num<float> a) { return {__builtin_floorf(a.v)}; }
Num<double> floor(Num<double> a) { return {__builtin_floor(a.v)}; }
Num<float> trunc(Num<float> a) { return {__builtin_truncf(a.v)}; }
Num<double> trunc(Num<double> a) { return {__builtin_trunc(a.v)}; }
Num<float> round_even(Num<float> a) { return {__builtin_rintf(a.v)}; }
Num<double> round_even(Num<double> a) { return {__builtin_rint(a.v)}; }
template <class F> Flag lt(Num<F> a, Num<F> b) { return {a.v < b.v}; }
template <class F> Flag le(Num<F> a, Num<F> b) { return {a.v <= b.v}; }
template <class F> Flag gt(Num<F> a, Num<F> b) { return {a.v > b.v}; }
template <class F> Flag ge(Num<F> a, Num<F> b) { return {a.v >= b.v}; }
template <class F> Flag eq(Num<F> a, Num<F> b) { return {a.v == b.v}; }
template <class F> Flag ne(Num<F> a, Num<F> b) { return {a.v != b.v}; }
template <class F> Flag is_nan(Num<F> a) { return {a.v != a.v}; }
// Bitwise, so that nothing is a branch.
Flag logical_and(Flag a, Flag b) { return {bool(a.v & b.v)}; }
Flag logical_or(Flag a, Flag b) { return {bool(a.v | b.v)}; }
Flag logical_not(Flag a) { return {!a.v}; }
template <class F> Num<F> select(Flag c, Num<F> a, Num<F> b) { return {c.v ? a.v : b.v}; }
template <class I> Int<I> select(Flag c, Int<I> a, Int<I> b) { return {c.v ? a.v : b.v}; }
template <class F> Num<F> constant(Num<F>, double v) { return {F(v)}; }
template <class F> constexpr bool is_f64(Num<F>) { return sizeof(F) == 8; }
template <class F> Int<IntOf<F>> bits(Num<F> a) { return {__builtin_bit_cast(IntOf<F>, a.v)}; }
template <class F> Num<F> from_bits(Num<F>, Int<IntOf<F>> a) { return {__builtin_bit_cast(F, a.v)}; }
template <class F> Int<IntOf<F>> to_int(Num<F> a) { return {IntOf<F>(a.v)}; }
template <class F> Num<F> to_float(Num<F>, Int<IntOf<F>> a) { return {F(a.v)}; }
Num<double> to_f64(Num<float> a) { return {double(a.v)}; }
Num<double> to_f64(Num<double> a) { return a; }
Num<float> to_f32(Num<double> a) { return {float(a.v)}; }
template <class F> constexpr bool has_tables(Num<F>) { return true; }
template <class F> Num<F> lookup(Num<F>, math::Table t, Int<IntOf<F>> i) { return {F(math::tables[t][i.v & 31])}; }
template <class I> Int<I> constant_int(Int<I>, int64_t v) { return {I(v)}; }
template <class I> Int<I> operator+(Int<I> a, Int<I> b) { return {I(Bits<I>(a.v) + Bits<I>(b.v))}; }
template <class I> Int<I> operator-(Int<I> a, Int<I> b) { return {I(Bits<I>(a.v) - Bits<I>(b.v))}; }
template <class I> Int<I> operator*(Int<I> a, Int<I> b) { return {I(Bits<I>(a.v) * Bits<I>(b.v))}; }
template <class I> Int<I> operator&(Int<I> a, Int<I> b) { return {I(a.v & b.v)}; }
template <class I> Int<I> operator|(Int<I> a, Int<I> b) { return {I(a.v | b.v)}; }
template <class I> Int<I> operator^(Int<I> a, Int<I> b) { return {I(a.v ^ b.v)}; }
template <class I> Int<I> operator<<(Int<I> a, int n) { return {I(Bits<I>(a.v) << n)}; }
template <class I> Int<I> lshr(Int<I> a, int n) { return {I(Bits<I>(a.v) >> n)}; }
template <class I> Int<I> ashr(Int<I> a, int n) { return {I(a.v >> n)}; }

template <class Call, class F>
void math_loop(void* out, const void* a, const void* b, const void*, int64_t n) {
  F* o = static_cast<F*>(out);
  const F *x = static_cast<const F*>(a), *y = b ? static_cast<const F*>(b) : x;
  for (int64_t i = 0; i < n; ++i) o[i] = Call::f(Num<F>{x[i]}, Num<F>{y[i]}).v;
}
template <class Call, class F>
BlockFn pick() {
  if constexpr (requires(Num<F> v) { Call::f(v, v); }) return math_loop<Call, F>;
  else return nullptr;
}

}  // namespace

BlockFn baseline_math_op(Scalar op, Rep r) {
  switch (op) {
#define PHLOX_MATH_CASE(name) \
  case Scalar::name: return r == Rep::f32 ? pick<math::Call_##name, float>() : pick<math::Call_##name, double>();
    PHLOX_MATH_FUNCTIONS(PHLOX_MATH_CASE, PHLOX_MATH_CASE)
    default: return nullptr;
  }
}

}  // namespace phlox
