// Speed of the scalar functions as vector code: one core, data in the first-level cache, vector extensions of the
// given width. Build it by hand, for example
//   clang++-19 -std=c++20 -O2 -mavx2 -mfma -ffp-contract=off -fno-math-errno -DWIDTH=32 -Isrc tools/math_speed.cpp
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <type_traits>

#include "loop/math.h"

#ifndef WIDTH
#define WIDTH 32
#endif

namespace phlox::speed {

template <class F> struct VecTypes;
template <> struct VecTypes<float> {
  typedef float f __attribute__((vector_size(WIDTH)));
  typedef int32_t i __attribute__((vector_size(WIDTH)));
  typedef uint32_t u __attribute__((vector_size(WIDTH)));
};
template <> struct VecTypes<double> {  // as many lanes as float has
  typedef double f __attribute__((vector_size(2 * WIDTH)));
  typedef int64_t i __attribute__((vector_size(2 * WIDTH)));
  typedef uint64_t u __attribute__((vector_size(2 * WIDTH)));
};
template <class F> struct Vec { typename VecTypes<F>::f v; };
template <class F> struct IVec { typename VecTypes<F>::i v; };
template <class F> struct BVec { typename VecTypes<F>::i v; };

#define OP(o) template <class F> Vec<F> operator o(Vec<F> a, Vec<F> b) { return {a.v o b.v}; }
OP(+) OP(-) OP(*) OP(/)
#undef OP
template <class F> Vec<F> operator-(Vec<F> a) { return {-a.v}; }
template <class F> Vec<F> fma(Vec<F> a, Vec<F> b, Vec<F> c) { return {__builtin_elementwise_fma(a.v, b.v, c.v)}; }
template <class F> Vec<F> sqrt(Vec<F> a) { return {__builtin_elementwise_sqrt(a.v)}; }
template <class F> Vec<F> abs(Vec<F> a) { return {__builtin_elementwise_abs(a.v)}; }
template <class F> Vec<F> floor(Vec<F> a) { return {__builtin_elementwise_floor(a.v)}; }
template <class F> Vec<F> trunc(Vec<F> a) { return {__builtin_elementwise_trunc(a.v)}; }
template <class F> Vec<F> round_even(Vec<F> a) { return {__builtin_elementwise_roundeven(a.v)}; }
#define CMP(n, o) template <class F> BVec<F> n(Vec<F> a, Vec<F> b) { return {a.v o b.v}; }
CMP(lt, <) CMP(le, <=) CMP(gt, >) CMP(ge, >=) CMP(eq, ==) CMP(ne, !=)
#undef CMP
template <class F> BVec<F> is_nan(Vec<F> a) { return {a.v != a.v}; }
template <class F> BVec<F> logical_and(BVec<F> a, BVec<F> b) { return {a.v & b.v}; }
template <class F> BVec<F> logical_or(BVec<F> a, BVec<F> b) { return {a.v | b.v}; }
template <class F> BVec<F> logical_not(BVec<F> a) { return {~a.v}; }
template <class F> Vec<F> select(BVec<F> c, Vec<F> a, Vec<F> b) { return {c.v ? a.v : b.v}; }
template <class F> Vec<F> constant(Vec<F>, double v) { return {typename VecTypes<F>::f{} + F(v)}; }
template <class F> bool is_f64(Vec<F>) { return sizeof(F) == 8; }
template <class F> IVec<F> bits(Vec<F> a) { return {(typename VecTypes<F>::i)a.v}; }
template <class F> Vec<F> from_bits(Vec<F>, IVec<F> a) { return {(typename VecTypes<F>::f)a.v}; }
template <class F> IVec<F> to_int(Vec<F> a) { return {__builtin_convertvector(a.v, typename VecTypes<F>::i)}; }
template <class F> Vec<F> to_float(Vec<F>, IVec<F> a) { return {__builtin_convertvector(a.v, typename VecTypes<F>::f)}; }
template <class F> Vec<double> to_f64(Vec<F> a) { return {__builtin_convertvector(a.v, VecTypes<double>::f)}; }
template <class F> Vec<float> to_f32(Vec<F> a) { return {__builtin_convertvector(a.v, VecTypes<float>::f)}; }
template <class F> IVec<F> constant_int(IVec<F>, int64_t v) { return {typename VecTypes<F>::i{} + std::conditional_t<sizeof(F) == 8, int64_t, int32_t>(v)}; }
template <class F> bool has_tables(Vec<F>) { return true; }
template <class F> Vec<F> lookup(Vec<F> x, math::Table t, IVec<F> i) {
  const float* p = math::tables[t];
  if constexpr (sizeof(F) == 8) return x;
#if WIDTH == 64
  else return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), __m512i(i.v), _mm512_loadu_ps(p + 16))};
#else
  else return {_mm256_i32gather_ps(p, __m256i(i.v & 31), 4)};
#endif
}
#define IOP(o) template <class F> IVec<F> operator o(IVec<F> a, IVec<F> b) { \
  using U = typename VecTypes<F>::u; return {(typename VecTypes<F>::i)((U)a.v o (U)b.v)}; }
IOP(+) IOP(-) IOP(*) IOP(&) IOP(|) IOP(^)
#undef IOP
template <class F> IVec<F> operator<<(IVec<F> a, int n) { return {(typename VecTypes<F>::i)((typename VecTypes<F>::u)a.v << n)}; }
template <class F> IVec<F> lshr(IVec<F> a, int n) { return {(typename VecTypes<F>::i)((typename VecTypes<F>::u)a.v >> n)}; }
template <class F> IVec<F> ashr(IVec<F> a, int n) { return {a.v >> n}; }

static_assert(math::ScalarValue<Vec<float>> && math::ScalarValue<Vec<double>>);

constexpr int lanes = WIDTH / 4, count = 2048;
alignas(128) double input[count], output[count];

// A kernel must have a vector in its signature, or targets that prefer 256 bits split it.
template <class F, class Fn>
__attribute__((noinline, min_vector_width(WIDTH * 8))) void apply(const F* in, F* out, Fn fn) {
  for (int i = 0; i < count; i += 2 * lanes) {
    Vec<F> a, b;
    memcpy(&a, in + i, sizeof a);
    memcpy(&b, in + i + lanes, sizeof b);
    a = fn(a);
    b = fn(b);
    memcpy(out + i, &a, sizeof a);
    memcpy(out + i + lanes, &b, sizeof b);
  }
}
double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}
template <class F, class Fn>
double rate(Fn fn, double lo, double hi) {
  F* in = (F*)input;
  for (int i = 0; i < count; ++i) in[i] = F(lo + (hi - lo) * (i * 1103 % count) / count);
  double best = 0;
  for (int rep = 0; rep < 20; ++rep) {
    double t0 = cpu_seconds();
    for (int i = 0; i < 300; ++i) apply<F>(in, (F*)output, fn);
    double s = cpu_seconds() - t0;
    double g = 300.0 * count / s * 1e-9;
    if (g > best) best = g;
  }
  return best;
}
template <class Fn>
void report(const char* name, Fn fn, double lo, double hi) {
  printf("| %s | %.2f | %.2f |\n", name, rate<float>(fn, lo, hi), rate<double>(fn, lo, hi));
}

}  // namespace phlox::speed

#define REPORT(f, lo, hi) phlox::speed::report(#f, [](auto x) __attribute__((always_inline)) { return phlox::math::f(x); }, lo, hi)
int main() {
  printf("| function (%d-byte vectors) | f32 Gelem/s | f64 Gelem/s |\n|---|---|---|\n", WIDTH);
  REPORT(exp, -20, 20);
  REPORT(exp2, -20, 20);
  REPORT(expm1, -20, 20);
  REPORT(log, 0.001, 1000);
  REPORT(log1p, -0.9, 1000);
  REPORT(sigmoid, -8, 8);
  REPORT(silu, -8, 8);
  REPORT(tanh, -8, 8);
  REPORT(erf, -4, 4);
  REPORT(erfc, -4, 4);
  REPORT(normal_cdf, -8, 8);
  REPORT(gelu, -8, 8);
  REPORT(rsqrt, 0.001, 1000);
  REPORT(sin, -100, 100);
  REPORT(cos, -100, 100);
  phlox::speed::report("pow", [](auto x) __attribute__((always_inline)) { return phlox::math::pow(x, x); }, 0.1, 10);
}
