#include "kernel/math_ops.h"

#include "base/error.h"
#include "loop/math.h"

namespace phlox {

namespace math {
// A function that loop/math.h does not have gives an empty value.
#define PHLOX_UNARY(name)                                          \
  template <class V>                                               \
  V expand_##name(V a) {                                           \
    if constexpr (requires { name(a); }) return name(a);           \
    else return V();                                               \
  }
#define PHLOX_BINARY(name)                                         \
  template <class V>                                               \
  V expand_##name(V a, V b) {                                      \
    if constexpr (requires { name(a, b); }) return name(a, b);     \
    else return V();                                               \
  }
#define PHLOX_MATH_OPS(UNARY, BINARY)                                                                            \
  UNARY(exp) UNARY(exp2) UNARY(expm1) UNARY(log) UNARY(log2) UNARY(log10) UNARY(log1p) UNARY(sigmoid) UNARY(tanh) \
  UNARY(erf) UNARY(erfc) UNARY(erfinv) UNARY(normal_cdf) UNARY(sin) UNARY(cos) UNARY(tan) UNARY(asin) UNARY(acos) \
  UNARY(atan) BINARY(atan2) UNARY(sinh) UNARY(cosh) UNARY(asinh) UNARY(acosh) UNARY(atanh) BINARY(pow)            \
  UNARY(rsqrt) BINARY(hypot) UNARY(lgamma) UNARY(digamma) UNARY(trigamma) BINARY(nextafter)
PHLOX_MATH_OPS(PHLOX_UNARY, PHLOX_BINARY)
}  // namespace math

Kv expand_math(Scalar op, Kv a, Kv b) {
  Kv r;
  switch (op) {
#define UNARY_CASE(name) case Scalar::name: r = math::expand_##name(a); break;
#define BINARY_CASE(name) case Scalar::name: r = math::expand_##name(a, b); break;
    PHLOX_MATH_OPS(UNARY_CASE, BINARY_CASE)
#undef UNARY_CASE
#undef BINARY_CASE
    default: break;
  }
  if (!r)
    fail(ErrorCode::not_implemented, {.op = scalar_info(op).name, .fact = "kernels have no expansion of this function"});
  return r;
}

// The product of log2 e and an argument whose exponential neither vanishes nor overflows has an error of 2^-18 at most.
static Kv narrow_exp(Kv x) { return x.b->power2(x * constant(x, 1.4426950408889634)); }

static Kv narrow_tanh(Kv x) {
  const Kv y = abs(x), one = constant(x, 1), e = narrow_exp(y * constant(x, -2)), t = (one - e) / (one + e);
  return select(lt(y, constant(x, 0x1p-8)), x, select(lt(x, constant(x, 0)), -t, t));
}

// Phi(-y) = t e^(p(t) - y^2/2) with t = 1/(1 + y/2); p fits log Phi(-y) + y^2/2 - log t to 1.5e-6 for y in [0, 14]. The
// square of a 16-bit float is exact.
static Kv narrow_normal_cdf(Kv x) {
  const Kv y = abs(x), one = constant(x, 1);
  const Kv t = one / fma(y, constant(x, 0.5), one);
  Kv p = constant(x, 0.184282124042511);
  for (double c : {-0.9505341053009033, 1.921364188194275, -1.7159367799758911, 0.3153618574142456, 0.15501539409160614,
                   1.0097925662994385, -1.612492561340332})
    p = fma(p, t, constant(x, c));
  const Kv tail = t * narrow_exp(fma(y * constant(x, -0.5), y, p));
  return select(lt(x, constant(x, 0)), tail, one - tail);
}

Kv expand_math_narrow(Scalar op, Kv a) {
  switch (op) {
    case Scalar::exp: return narrow_exp(a);
    case Scalar::sigmoid: return constant(a, 1) / (constant(a, 1) + narrow_exp(-a));
    case Scalar::tanh: return narrow_tanh(a);
    case Scalar::normal_cdf: return narrow_normal_cdf(a);
    default: return {};
  }
}

}  // namespace phlox
