#include "math/functions.h"

namespace phlox::reference {
namespace {

Real half(const Real& x) { return x * Real(0.5); }
Real sigmoid(const Real& x) { return Real(1) / (Real(1) + call<mpfr_exp>(-x)); }
Real normal_cdf(const Real& x) { return half(call<mpfr_erfc>(-x / call<mpfr_sqrt>(Real(2)))); }

Real lgamma(const Real& x) {
  Real r;
  int sign;
  mpfr_lgamma(r.get(), &sign, x.get(), MPFR_RNDN);
  return r;
}
// By the recurrence up to 40, then Euler and Maclaurin.
Real trigamma(const Real& x) {
  Real sum, z = x;
  mpfr_set_ui(sum.get(), 0, MPFR_RNDN);
  while (z < Real(40)) {
    sum = sum + Real(1) / (z * z);
    z = z + Real(1);
  }
  Real w = Real(1) / z, ww = w * w, power = w * ww;
  sum = sum + w + half(ww);
  const double top[] = {1, -1, 1, -1, 5, -691, 7, -3617, 43867, -174611};
  const double bottom[] = {6, 30, 42, 30, 66, 2730, 6, 510, 798, 330};
  for (int i = 0; i < 10; ++i, power = power * ww) sum = sum + power * Real(top[i]) / Real(bottom[i]);
  return sum;
}
// Newton's method on `rest - tail(y)`, whose derivative is scale * e^(curve y^2); rest is the probability in
// the tail.
Real invert_tail(const Real& rest, Real y, Real (*tail)(const Real&), double curve, const Real& scale) {
  for (int i = 0; i < 14; ++i) {
    Real step = (rest - tail(y)) / (scale * call<mpfr_exp>(Real(curve) * y * y));
    y = y - step / (Real(1) - Real(curve) * y * step);
  }
  return y;
}
Real pi() {
  Real r;
  mpfr_const_pi(r.get(), MPFR_RNDN);
  return r;
}
Real erfinv(const Real& x) {
  double d = x.to_double(), a = std::fabs(d);
  if (a >= 1) return a == 1 ? Real(std::copysign(INFINITY, d)) : Real(NAN);
  double w = -std::log((1 - a) * (1 + a));
  Real guess(w < 5 ? a * (0.886 + 0.05 * w) : std::sqrt(w) - 0.5), scale = Real(2) / call<mpfr_sqrt>(pi());
  Real y = a < 0.5 ? invert_tail(
                         -Real(a), guess, [](const Real& v) { return -call<mpfr_erf>(v); }, -1, scale)
                   : invert_tail(Real(1) - Real(a), guess, call<mpfr_erfc>, -1, scale);
  return d < 0 ? -y : y;
}
Real ndtri(const Real& x) {
  double p = x.to_double();
  if (!(p > 0 && p < 1)) return p == 0 ? Real(-INFINITY) : p == 1 ? Real(INFINITY) : Real(NAN);
  Real q = p > 0.5 ? Real(1) - x : x;
  double s = std::sqrt(-2 * std::log(q.to_double()));
  double t =
      s - (2.515517 + s * (0.802853 + s * 0.010328)) / (1 + s * (1.432788 + s * (0.189269 + s * 0.001308)));
  Real scale = Real(1) / call<mpfr_sqrt>(Real(2) * pi());
  Real y = invert_tail(q, Real(t), [](const Real& v) { return normal_cdf(-v); }, -0.5, scale);
  return p > 0.5 ? y : -y;
}

#define BOTH(f)                                             \
  [](float x) { return math::f(native::Num<float>{x}).v; }, \
      [](double x) { return math::f(native::Num<double>{x}).v; }

}  // namespace

const std::vector<Unary>& unary_functions() {
  static const std::vector<Unary> table = {
      {"exp", BOTH(exp), call<mpfr_exp>, -104, 89, 1, 1.25, -INFINITY, INFINITY, 1,
       [](double x) { return std::exp(x); }},
      {"exp2", BOTH(exp2), call<mpfr_exp2>, -150, 128, 1, 1.25, -INFINITY, INFINITY, 1,
       [](double x) { return std::exp2(x); }},
      {"expm1", BOTH(expm1), call<mpfr_expm1>, -5, 5, 1.25, 1.25, -INFINITY, INFINITY, 1,
       [](double x) { return std::expm1(x); }},
      {"log", BOTH(log), call<mpfr_log>, 0, 4, 1, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::log(x); }},
      {"log2", BOTH(log2), call<mpfr_log2>, 0, 4, 1.25, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::log2(x); }},
      {"log10", BOTH(log10), call<mpfr_log10>, 0, 4, 1.25, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::log10(x); }},
      {"log1p", BOTH(log1p), call<mpfr_log1p>, -1, 3, 1, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::log1p(x); }},
      {"sigmoid", BOTH(sigmoid), sigmoid, -20, 20, 1.6, 1.6, -INFINITY, INFINITY, 1,
       [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"silu", BOTH(silu), [](const Real& x) { return x * sigmoid(x); }, -110, 20, 2.5, 2.5, -1e4, INFINITY,
       1, [](double x) { return x / (1 + std::exp(-x)); }},
      {"tanh", BOTH(tanh), call<mpfr_tanh>, -10, 10, 1.5, 1.5, -INFINITY, INFINITY, 1,
       [](double x) { return std::tanh(x); }},
      {"erf", BOTH(erf), call<mpfr_erf>, -4, 4, 1.25, 1.25, -1e3, 1e3, 1,
       [](double x) { return std::erf(x); }},
      {"erfc", BOTH(erfc), call<mpfr_erfc>, -4, 27, 1.5, 1.5, -1e3, 1e3, 1,
       [](double x) { return std::erfc(x); }},
      {"normal_cdf", BOTH(normal_cdf), normal_cdf, -14, 5, 1.75, 1.25, -1e3, 1e3, 1,
       [](double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }},
      {"gelu", BOTH(gelu), [](const Real& x) { return x * normal_cdf(x); }, -14, 5, 2.5, 2, -1e3, 1e3, 1,
       [](double x) { return 0.5 * x * std::erfc(-x * 0.70710678118654752440); }},
      {"rsqrt", BOTH(rsqrt), call<mpfr_rec_sqrt>, 0, 4, 0.75, 0.75, -INFINITY, INFINITY, 1,
       [](double x) { return 1 / std::sqrt(x); }},
      {"sin", BOTH(sin), call<mpfr_sin>, -100, 100, 0.75, 0.75, -INFINITY, INFINITY, 1,
       [](double x) { return std::sin(x); }},
      {"cos", BOTH(cos), call<mpfr_cos>, -100, 100, 0.75, 0.75, -INFINITY, INFINITY, 1,
       [](double x) { return std::cos(x); }},
      {"tan", BOTH(tan), call<mpfr_tan>, -100, 100, 0.75, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::tan(x); }},
      {"asin", BOTH(asin), call<mpfr_asin>, -1, 1, 0.75, 0.75, -INFINITY, INFINITY, 1,
       [](double x) { return std::asin(x); }},
      {"acos", BOTH(acos), call<mpfr_acos>, -1, 1, 0.75, 0.75, -INFINITY, INFINITY, 1,
       [](double x) { return std::acos(x); }},
      {"atan", BOTH(atan), call<mpfr_atan>, -5, 5, 0.75, 0.75, -INFINITY, INFINITY, 1,
       [](double x) { return std::atan(x); }},
      {"sinh", BOTH(sinh), call<mpfr_sinh>, -5, 5, 2, 2, -INFINITY, INFINITY, 1,
       [](double x) { return std::sinh(x); }},
      {"cosh", BOTH(cosh), call<mpfr_cosh>, -5, 5, 1.5, 1.5, -INFINITY, INFINITY, 1,
       [](double x) { return std::cosh(x); }},
      {"asinh", BOTH(asinh), call<mpfr_asinh>, -5, 5, 1.25, 1.25, -INFINITY, INFINITY, 1,
       [](double x) { return std::asinh(x); }},
      {"acosh", BOTH(acosh), call<mpfr_acosh>, 1, 5, 1, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::acosh(x); }},
      {"atanh", BOTH(atanh), call<mpfr_atanh>, -1, 1, 1, 1, -INFINITY, INFINITY, 1,
       [](double x) { return std::atanh(x); }},
      {"softplus", BOTH(softplus), [](const Real& x) { return call<mpfr_log1p>(call<mpfr_exp>(x)); }, -20, 20,
       2, 2, -1e4, 700},
      {"log_sigmoid", BOTH(log_sigmoid), [](const Real& x) { return call<mpfr_log>(sigmoid(x)); }, -20, 20, 2,
       2, -700, 40},
      {"erfinv", BOTH(erfinv), erfinv, -1, 1, 0.75, 2, -INFINITY, INFINITY, 8},
      {"ndtri", BOTH(ndtri), ndtri, 0, 1, 0.75, 2.5, -INFINITY, INFINITY, 8},
      {"erfcx", BOTH(erfcx), [](const Real& x) { return call<mpfr_erfc>(x) * call<mpfr_exp>(x * x); }, -3, 30,
       1, 2.5, -26, 1e3},
      {"log_ndtr", BOTH(log_ndtr), [](const Real& x) { return call<mpfr_log>(normal_cdf(x)); }, -40, 9, 1, 2,
       -1e3, 5},
      {"lgamma", BOTH(lgamma), lgamma, 0, 20, 1, 8, 0},
      {"digamma", BOTH(digamma), call<mpfr_digamma>, 2, 20, 1, 8, 2.5},
      {"trigamma", BOTH(trigamma), trigamma, 0, 20, 1, 8, 0, 1e10},
  };
  return table;
}

}  // namespace phlox::reference
