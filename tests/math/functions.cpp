#include "math/functions.h"

namespace phlox::reference {
namespace {

Real half(const Real& x) { return x * Real(0.5); }
Real sigmoid(const Real& x) { return Real(1) / (Real(1) + call<mpfr_exp>(-x)); }
Real normal_cdf(const Real& x) { return half(call<mpfr_erfc>(-x / call<mpfr_sqrt>(Real(2)))); }

#define BOTH(f)                                                             \
  [](float x) { return math::f(native::Num<float>{x}).v; },                 \
      [](double x) { return math::f(native::Num<double>{x}).v; }

}  // namespace

const std::vector<Unary>& unary_functions() {
  static const std::vector<Unary> table = {
      {"exp", BOTH(exp), call<mpfr_exp>, -104, 89, 1, 1.25},
      {"exp2", BOTH(exp2), call<mpfr_exp2>, -150, 128, 1, 1.25},
      {"expm1", BOTH(expm1), call<mpfr_expm1>, -5, 5, 1.25, 1.25},
      {"log", BOTH(log), call<mpfr_log>, 0, 4, 1, 1},
      {"log2", BOTH(log2), call<mpfr_log2>, 0, 4, 1, 1},
      {"log10", BOTH(log10), call<mpfr_log10>, 0, 4, 1, 1},
      {"log1p", BOTH(log1p), call<mpfr_log1p>, -1, 3, 1, 1},
      {"sigmoid", BOTH(sigmoid), sigmoid, -20, 20, 1.6, 1.6},
      {"silu", BOTH(silu), [](const Real& x) { return x * sigmoid(x); }, -110, 20, 3, 3, -1e4},
      {"tanh", BOTH(tanh), call<mpfr_tanh>, -10, 10, 1.5, 1.5},
      {"erf", BOTH(erf), call<mpfr_erf>, -4, 4, 1, 1, -1e3, 1e3},
      {"erfc", BOTH(erfc), call<mpfr_erfc>, -4, 27, 1.5, 1.5, -1e3, 1e3},
      {"normal_cdf", BOTH(normal_cdf), normal_cdf, -14, 5, 1.5, 1.25, -1e3, 1e3},
      {"gelu", BOTH(gelu), [](const Real& x) { return x * normal_cdf(x); }, -14, 5, 2, 2, -1e3, 1e3},
      {"rsqrt", BOTH(rsqrt), call<mpfr_rec_sqrt>, 0, 4, 0.75, 0.75},
      {"sin", BOTH(sin), call<mpfr_sin>, -100, 100, 0.75, 0.75},
      {"cos", BOTH(cos), call<mpfr_cos>, -100, 100, 0.75, 0.75},
  };
  return table;
}

}  // namespace phlox::reference
