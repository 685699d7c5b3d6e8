#include "ops/special_host.h"

#include <cmath>
#include <limits>

#include "loop/math_number.h"

namespace phlox {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

// --- what loop/math.h has

using Number = native::Num<double>;
#define OF_ONE(name, function) \
  double name(double x) { return math::function(Number{x}).v; }
OF_ONE(i0, i0)
OF_ONE(i0e, i0e)
OF_ONE(i1, i1)
OF_ONE(i1e, i1e)
OF_ONE(k0, k0)
OF_ONE(k1, k1)
OF_ONE(k0_scaled, k0e)
OF_ONE(k1_scaled, k1e)
OF_ONE(bessel_j0, j0)
OF_ONE(bessel_j1, j1)
OF_ONE(bessel_y0, y0)
OF_ONE(bessel_y1, y1)
OF_ONE(spherical_j0, spherical_bessel_j0)
OF_ONE(airy_ai, airy_ai)
OF_ONE(erfcx, erfcx)
OF_ONE(log_ndtr, log_ndtr)
OF_ONE(ndtri, ndtri)
#undef OF_ONE
double igamma(double a, double x) { return math::igamma(Number{a}, Number{x}).v; }
double igammac(double a, double x) { return math::igammac(Number{a}, Number{x}).v; }

// --- zeta, also of negative q

// sum over k >= 0 of (q + k)^-s: terms up to q + k >= 12, then the Euler-Maclaurin formula.
double zeta(double s, double q) {
  if (std::isnan(s) || std::isnan(q)) return nan;
  if (s == 1) return inf;
  if (s < 1) return nan;
  if (q <= 0) {
    if (q == std::floor(q)) return inf;
    if (s != std::floor(s)) return nan;
  }
  double sum = 0;
  while (q < 12) { sum += std::pow(q, -s); q += 1; }
  constexpr double bernoulli[] = {1.0 / 12, -1.0 / 720, 1.0 / 30240, -1.0 / 1209600, 1.0 / 47900160, -691.0 / 1307674368000};
  const double last = std::pow(q, -s);
  sum += last * q / (s - 1) + last / 2;
  double factor = s * last / q;  // s (s + 1) ... (s + 2k - 2) q^(-s - 2k + 1)
  for (int k = 0; k < 6; ++k) {
    sum += bernoulli[k] * factor;
    factor *= (s + 2 * k + 1) * (s + 2 * k + 2) / (q * q);
  }
  return sum;
}

// --- orthogonal polynomials by their recurrences; of degree n < 0: 0

// p[k + 1] = step(k, p[k], p[k - 1]).
template <class F>
double recurrence(double x1, int64_t n, F step) {
  if (n < 0) return 0;
  double before = 1, now = x1;
  if (n == 0) return 1;
  for (int64_t k = 1; k < n; ++k) {
    const double next = step(double(k), now, before);
    before = now;
    now = next;
  }
  return now;
}
bool even(int64_t n) { return n % 2 == 0; }
int64_t degree(double n) { return std::isfinite(n) && std::fabs(n) < 1e9 ? int64_t(n) : -1; }

// The four kinds differ in their first polynomial. Inside (-1, 1) high degrees use the angle, where the recurrence is long.
double chebyshev_t(double x, double d) {
  const int64_t n = degree(d);
  if (n < 0) return 0;
  if (std::fabs(x) == 1) return x > 0 || even(n) ? 1 : -1;
  if (n > 6 && std::fabs(x) < 1) return std::cos(double(n) * std::acos(x));
  return recurrence(x, n, [x](double, double p, double q) { return 2 * x * p - q; });
}
double chebyshev_u(double x, double d) {
  const int64_t n = degree(d);
  if (n < 0) return 0;
  if (std::fabs(x) == 1) return x > 0 || even(n) ? double(n + 1) : -double(n + 1);
  if (n > 8 && std::fabs(x) < 1) { const double t = std::acos(x); return std::sin(double(n + 1) * t) / std::sin(t); }
  return recurrence(2 * x, n, [x](double, double p, double q) { return 2 * x * p - q; });
}
double chebyshev_v(double x, double d) {
  const int64_t n = degree(d);
  if (n < 0) return 0;
  if (std::fabs(x) == 1) return x > 0 ? 1 : even(n) ? double(2 * n + 1) : -double(2 * n + 1);
  if (n > 8 && std::fabs(x) < 1) { const double t = std::acos(x); return std::cos((double(n) + 0.5) * t) / std::cos(t / 2); }
  return recurrence(2 * x - 1, n, [x](double, double p, double q) { return 2 * x * p - q; });
}
double chebyshev_w(double x, double d) {
  const int64_t n = degree(d);
  if (n < 0) return 0;
  if (std::fabs(x) == 1) return x > 0 ? double(2 * n + 1) : even(n) ? 1 : -1;
  if (n > 8 && std::fabs(x) < 1) { const double t = std::acos(x); return std::sin((double(n) + 0.5) * t) / std::sin(t / 2); }
  return recurrence(2 * x + 1, n, [x](double, double p, double q) { return 2 * x * p - q; });
}
template <SpecialFunction2 f>
double shifted(double x, double n) { return f(2 * x - 1, n); }
double hermite_h(double x, double d) {
  return recurrence(2 * x, degree(d), [x](double k, double p, double q) { return 2 * x * p - 2 * k * q; });
}
double hermite_he(double x, double d) {
  return recurrence(x, degree(d), [x](double k, double p, double q) { return x * p - k * q; });
}
double laguerre_l(double x, double d) {
  return recurrence(1 - x, degree(d), [x](double k, double p, double q) { return ((2 * k + 1 - x) * p - k * q) / (k + 1); });
}
double legendre_p(double x, double d) {
  return recurrence(x, degree(d), [x](double k, double p, double q) { return ((2 * k + 1) * x * p - k * q) / (k + 1); });
}

constexpr struct { std::string_view name; SpecialFunction1 f; } functions1[] = {
    {"i0", i0}, {"i0e", i0e}, {"i1", i1}, {"i1e", i1e}, {"modified_bessel_k0", k0}, {"modified_bessel_k1", k1},
    {"scaled_modified_bessel_k0", k0_scaled}, {"scaled_modified_bessel_k1", k1_scaled}, {"bessel_j0", bessel_j0},
    {"bessel_j1", bessel_j1}, {"bessel_y0", bessel_y0}, {"bessel_y1", bessel_y1}, {"spherical_bessel_j0", spherical_j0},
    {"airy_ai", airy_ai}, {"erfcx", erfcx}, {"log_ndtr", log_ndtr}, {"ndtri", ndtri}};
constexpr struct { std::string_view name; SpecialFunction2 f; } functions2[] = {
    {"igamma", igamma}, {"igammac", igammac}, {"zeta", zeta}, {"chebyshev_polynomial_t", chebyshev_t},
    {"chebyshev_polynomial_u", chebyshev_u}, {"chebyshev_polynomial_v", chebyshev_v}, {"chebyshev_polynomial_w", chebyshev_w},
    {"shifted_chebyshev_polynomial_t", shifted<chebyshev_t>}, {"shifted_chebyshev_polynomial_u", shifted<chebyshev_u>},
    {"shifted_chebyshev_polynomial_v", shifted<chebyshev_v>}, {"shifted_chebyshev_polynomial_w", shifted<chebyshev_w>},
    {"hermite_polynomial_h", hermite_h}, {"hermite_polynomial_he", hermite_he}, {"laguerre_polynomial_l", laguerre_l},
    {"legendre_polynomial_p", legendre_p}};

}  // namespace

SpecialFunction1 special_function1(std::string_view name) {
  for (const auto& f : functions1) if (f.name == name) return f.f;
  return nullptr;
}
SpecialFunction2 special_function2(std::string_view name) {
  for (const auto& f : functions2) if (f.name == name) return f.f;
  return nullptr;
}

}  // namespace phlox
