// loop/math.h on blocks, eight numbers at a time with AVX2. An f64 value of it is two registers, so that f32 functions
// that work in f64 inside stay eight wide. Where there is no AVX2 to compile for, this is the baseline.
#include "loop/scalar_math.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <concepts>
#include <cstring>
#include <initializer_list>
#include <type_traits>

// From here on, and only here, code may use AVX2. loop/math.h is all templates, and is instantiated for types that no
// other translation unit can name; every other header comes before the pragmas.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#include "loop/math.h"

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

using Floats = float __attribute__((vector_size(32)));
using Doubles = double __attribute__((vector_size(32)));
using Ints = int32_t __attribute__((vector_size(32)));
using Longs = int64_t __attribute__((vector_size(32)));
using UInts = uint32_t __attribute__((vector_size(32)));
using ULongs = uint64_t __attribute__((vector_size(32)));
constexpr int lanes = 8;

struct F { Floats v; };
struct D { Doubles lo, hi; };
struct I { Ints v; };
struct L { Longs lo, hi; };
struct FlagF { Ints v; };
struct FlagD { Longs lo, hi; };

#define PHLOX_ARITHMETIC(op)                                           \
  inline F operator op(F a, F b) { return {a.v op b.v}; }              \
  inline D operator op(D a, D b) { return {a.lo op b.lo, a.hi op b.hi}; }
PHLOX_ARITHMETIC(+)
PHLOX_ARITHMETIC(-)
PHLOX_ARITHMETIC(*)
PHLOX_ARITHMETIC(/)
#undef PHLOX_ARITHMETIC
inline F operator-(F a) { return {-a.v}; }
inline D operator-(D a) { return {-a.lo, -a.hi}; }

inline F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline D fma(D a, D b, D c) { return {_mm256_fmadd_pd(a.lo, b.lo, c.lo), _mm256_fmadd_pd(a.hi, b.hi, c.hi)}; }
inline F sqrt(F a) { return {_mm256_sqrt_ps(a.v)}; }
inline D sqrt(D a) { return {_mm256_sqrt_pd(a.lo), _mm256_sqrt_pd(a.hi)}; }
inline F abs(F a) { return {Floats(Ints(a.v) & 0x7fffffff)}; }
inline D abs(D a) { return {Doubles(Longs(a.lo) & INT64_MAX), Doubles(Longs(a.hi) & INT64_MAX)}; }
template <int mode> F rounded(F a) { return {_mm256_round_ps(a.v, mode | _MM_FROUND_NO_EXC)}; }
template <int mode> D rounded(D a) { return {_mm256_round_pd(a.lo, mode | _MM_FROUND_NO_EXC), _mm256_round_pd(a.hi, mode | _MM_FROUND_NO_EXC)}; }
template <class V> V floor(V a) { return rounded<_MM_FROUND_TO_NEG_INF>(a); }
template <class V> V trunc(V a) { return rounded<_MM_FROUND_TO_ZERO>(a); }
template <class V> V round_even(V a) { return rounded<_MM_FROUND_TO_NEAREST_INT>(a); }

#define PHLOX_TEST(name, op)                                                \
  inline FlagF name(F a, F b) { return {a.v op b.v}; }                      \
  inline FlagD name(D a, D b) { return {a.lo op b.lo, a.hi op b.hi}; }
PHLOX_TEST(lt, <)
PHLOX_TEST(le, <=)
PHLOX_TEST(gt, >)
PHLOX_TEST(ge, >=)
PHLOX_TEST(eq, ==)
PHLOX_TEST(ne, !=)
#undef PHLOX_TEST
template <class V> auto is_nan(V a) { return ne(a, a); }
inline FlagF logical_and(FlagF a, FlagF b) { return {a.v & b.v}; }
inline FlagD logical_and(FlagD a, FlagD b) { return {a.lo & b.lo, a.hi & b.hi}; }
inline FlagF logical_or(FlagF a, FlagF b) { return {a.v | b.v}; }
inline FlagD logical_or(FlagD a, FlagD b) { return {a.lo | b.lo, a.hi | b.hi}; }
inline FlagF logical_not(FlagF a) { return {~a.v}; }
inline FlagD logical_not(FlagD a) { return {~a.lo, ~a.hi}; }
inline F select(FlagF c, F a, F b) { return {_mm256_blendv_ps(b.v, a.v, Floats(c.v))}; }
inline D select(FlagD c, D a, D b) {
  return {_mm256_blendv_pd(b.lo, a.lo, Doubles(c.lo)), _mm256_blendv_pd(b.hi, a.hi, Doubles(c.hi))};
}
inline I select(FlagF c, I a, I b) { return {(a.v & c.v) | (b.v & ~c.v)}; }
inline L select(FlagD c, L a, L b) { return {(a.lo & c.lo) | (b.lo & ~c.lo), (a.hi & c.hi) | (b.hi & ~c.hi)}; }

inline F constant(F, double v) { return {_mm256_set1_ps(float(v))}; }
inline D constant(D, double v) { return {_mm256_set1_pd(v), _mm256_set1_pd(v)}; }
constexpr bool is_f64(F) { return false; }
constexpr bool is_f64(D) { return true; }
inline I bits(F a) { return {Ints(a.v)}; }
inline L bits(D a) { return {Longs(a.lo), Longs(a.hi)}; }
inline F from_bits(F, I a) { return {Floats(a.v)}; }
inline D from_bits(D, L a) { return {Doubles(a.lo), Doubles(a.hi)}; }
inline I to_int(F a) { return {Ints(_mm256_cvttps_epi32(a.v))}; }
inline L to_int(D a) { return {__builtin_convertvector(a.lo, Longs), __builtin_convertvector(a.hi, Longs)}; }
inline F to_float(F, I a) { return {__builtin_convertvector(a.v, Floats)}; }
inline D to_float(D, L a) { return {__builtin_convertvector(a.lo, Doubles), __builtin_convertvector(a.hi, Doubles)}; }
inline D to_f64(F a) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))};
}
inline D to_f64(D a) { return a; }
constexpr bool has_tables(F) { return true; }
constexpr bool has_tables(D) { return false; }
inline F lookup(F, math::Table t, I i) { return {_mm256_i32gather_ps(math::tables[t], __m256i(i.v & 31), 4)}; }
inline D lookup(D x, math::Table, L) { return x; }
inline F to_f32(D a) { return {_mm256_set_m128(_mm256_cvtpd_ps(a.hi), _mm256_cvtpd_ps(a.lo))}; }

inline I constant_int(I, int64_t v) { return {Ints(_mm256_set1_epi32(int32_t(v)))}; }
inline L constant_int(L, int64_t v) { return {Longs(_mm256_set1_epi64x(v)), Longs(_mm256_set1_epi64x(v))}; }
#define PHLOX_WRAPPING(op)                                                                                      \
  inline I operator op(I a, I b) { return {Ints(UInts(a.v) op UInts(b.v))}; }                   \
  inline L operator op(L a, L b) { return {Longs(ULongs(a.lo) op ULongs(b.lo)), Longs(ULongs(a.hi) op ULongs(b.hi))}; }
PHLOX_WRAPPING(+)
PHLOX_WRAPPING(-)
PHLOX_WRAPPING(*)
PHLOX_WRAPPING(&)
PHLOX_WRAPPING(|)
PHLOX_WRAPPING(^)
#undef PHLOX_WRAPPING
inline I operator<<(I a, int n) { return {Ints(UInts(a.v) << n)}; }
inline L operator<<(L a, int n) { return {Longs(ULongs(a.lo) << n), Longs(ULongs(a.hi) << n)}; }
inline I lshr(I a, int n) { return {Ints(UInts(a.v) >> n)}; }
inline L lshr(L a, int n) { return {Longs(ULongs(a.lo) >> n), Longs(ULongs(a.hi) >> n)}; }
inline I ashr(I a, int n) { return {a.v >> n}; }
inline L ashr(L a, int n) { return {a.lo >> n, a.hi >> n}; }

template <class V> using ElementOf = std::conditional_t<std::is_same_v<V, F>, float, double>;
template <class V>
V get(const ElementOf<V>* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
// The elements of the last, partial vector go by way of a full one.
template <class Call, class V>
void math_loop(void* out, const void* a, const void* b, const void*, int64_t n) {
  using E = ElementOf<V>;
  E* o = static_cast<E*>(out);
  const E *x = static_cast<const E*>(a), *y = b ? static_cast<const E*>(b) : x;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V v = Call::f(get<V>(x + i), get<V>(y + i));
    std::memcpy(o + i, &v, sizeof v);
  }
  if (i == n) return;
  E tail[2 * lanes] = {};
  std::memcpy(tail, x + i, size_t(n - i) * sizeof(E));
  std::memcpy(tail + lanes, y + i, size_t(n - i) * sizeof(E));
  const V v = Call::f(get<V>(tail), get<V>(tail + lanes));
  std::memcpy(o + i, &v, size_t(n - i) * sizeof(E));
}
template <class Call, class V>
BlockFn pick() {
  if constexpr (requires(V v) { Call::f(v, v); }) return math_loop<Call, V>;
  else return nullptr;
}

}  // namespace

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

BlockFn avx2_math_op(Scalar op, Rep r) {
  switch (op) {
#define PHLOX_MATH_CASE(name) \
  case Scalar::name: return r == Rep::f32 ? pick<math::Call_##name, F>() : pick<math::Call_##name, D>();
    PHLOX_MATH_FUNCTIONS(PHLOX_MATH_CASE, PHLOX_MATH_CASE)
    default: return nullptr;
  }
}

}  // namespace phlox

#else

namespace phlox {
BlockFn avx2_math_op(Scalar op, Rep r) { return baseline_math_op(op, r); }
}  // namespace phlox

#endif
