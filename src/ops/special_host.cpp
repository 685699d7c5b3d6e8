#include "ops/special_host.h"

#include <cmath>
#include <limits>

namespace phlox {

namespace {

constexpr double pi = 3.14159265358979323846, sqrt_pi = 1.77245385090551602730, sqrt_2 = 1.41421356237309504880;
constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
constexpr double series_ends = 25;  // Bessel functions: power series below, asymptotic series from here on

// --- modified Bessel functions

// sum over k of (mu - 1^2)(mu - 3^2)... / (k! (8x)^k), signs alternating for I: the asymptotic series of order n, mu = 4n^2.
double hankel_sum(double mu, double x, double sign) {
  double term = 1, sum = 1;
  for (int k = 1; k < 40; ++k) {
    const double odd = 2 * k - 1;
    const double next = term * sign * (mu - odd * odd) / (k * 8 * x);
    if (std::fabs(next) >= std::fabs(term)) break;
    term = next;
    sum += term;
    if (std::fabs(term) < 1e-17 * std::fabs(sum)) break;
  }
  return sum;
}
// exp(-|x|) I_n(x), n = 0 or 1.
double scaled_i(int n, double x) {
  const double a = std::fabs(x);
  if (std::isnan(x)) return x;
  double r;
  if (std::isinf(a)) {
    r = 0;
  } else if (a < series_ends) {
    const double q = a * a / 4;
    double term = n == 0 ? 1 : a / 2, sum = term;
    for (int k = 1; term > 1e-18 * sum; ++k) { term *= q / (double(k) * (k + n)); sum += term; }
    r = sum * std::exp(-a);
  } else {
    r = hankel_sum(4.0 * n, a, -1) / std::sqrt(2 * pi * a);
  }
  return n == 1 && x < 0 ? -r : r;
}
double i0(double x) { return std::fabs(x) < 700 ? scaled_i(0, x) * std::exp(std::fabs(x)) : std::isnan(x) ? x : scaled_i(0, x) * std::exp(std::fabs(x) / 2) * std::exp(std::fabs(x) / 2); }
double i0e(double x) { return scaled_i(0, x); }
double i1(double x) { return scaled_i(1, x) * std::exp(std::fabs(x) / 2) * std::exp(std::fabs(x) / 2); }
double i1e(double x) { return scaled_i(1, x); }
// exp(x) K_n(x).
double scaled_k(double n, double x) {
  if (std::isnan(x) || x < 0) return nan;
  if (x == 0) return inf;
  if (x >= series_ends) return std::isinf(x) ? 0 : hankel_sum(4 * n * n, x, 1) * std::sqrt(pi / (2 * x));
  return std::cyl_bessel_k(n, x) * std::exp(x);
}
double k0(double x) { return x < 0 || std::isnan(x) ? nan : scaled_k(0, x) * std::exp(-x); }
double k1(double x) { return x < 0 || std::isnan(x) ? nan : scaled_k(1, x) * std::exp(-x); }
double k0_scaled(double x) { return scaled_k(0, x); }
double k1_scaled(double x) { return scaled_k(1, x); }

// --- Bessel and Airy functions

double bessel_j0(double x) { return ::j0(x); }
double bessel_j1(double x) { return ::j1(x); }
double bessel_y0(double x) { return x < 0 ? nan : x == 0 ? -inf : ::y0(x); }
double bessel_y1(double x) { return x < 0 ? nan : x == 0 ? -inf : ::y1(x); }
double spherical_j0(double x) { return std::isinf(x) ? 0 : x == 0 ? 1 : std::sin(x) / x; }
double airy_ai(double x) {
  if (std::isnan(x)) return x;
  if (std::isinf(x)) return x > 0 ? 0 : nan;
  if (x == 0) return 0.35502805388781723926;
  const double a = std::fabs(x), root = std::sqrt(a), z = 2 * a * root / 3;
  if (x > 0) return z > 700 ? 0 : std::sqrt(x / 3) / pi * std::cyl_bessel_k(1.0 / 3, z);
  return root / 2 * (std::cyl_bessel_j(1.0 / 3, z) - std::cyl_neumann(1.0 / 3, z) / std::sqrt(3.0));
}

// --- the normal distribution

double erfcx(double x) {
  if (std::isnan(x)) return x;
  if (x < 20) return std::exp(x * x) * std::erfc(x);
  const double q = 1 / (2 * x * x);
  double term = 1, sum = 1;
  for (int k = 1; k < 12; ++k) { term *= -q * (2 * k - 1); sum += term; }
  return sum / (x * sqrt_pi);
}
double log_ndtr(double x) {
  if (x < -1) return std::log(erfcx(-x / sqrt_2) / 2) - x * x / 2;
  return std::log1p(-std::erfc(x / sqrt_2) / 2);
}
double ndtri(double p) {
  if (!(p >= 0 && p <= 1)) return nan;
  if (p == 0 || p == 1) return p == 0 ? -inf : inf;
  if (p > 0.5) return -ndtri(1 - p);
  // A start good to three digits (Abramowitz and Stegun 26.2.22), then Halley's steps.
  const double t = std::sqrt(-2 * std::log(p));
  double y = (2.30753 + 0.27061 * t) / (1 + t * (0.99229 + 0.04481 * t)) - t;
  for (int k = 0; k < 4; ++k) {
    const double u = (std::erfc(-y / sqrt_2) / 2 - p) * std::sqrt(2 * pi) * std::exp(y * y / 2);
    y -= u / (1 + y * u / 2);
  }
  return y;
}

// --- gamma and zeta functions

// The regularised lower incomplete gamma function and its complement, whichever is small being the exact one.
double incomplete_gamma(double a, double x, bool upper) {
  if (std::isnan(a) || std::isnan(x) || a < 0 || x < 0) return nan;
  if (a == 0) return x > 0 ? (upper ? 0 : 1) : nan;
  if (x == 0) return upper ? 1 : 0;
  if (std::isinf(a)) return std::isinf(x) ? nan : upper ? 1 : 0;
  if (std::isinf(x)) return upper ? 0 : 1;
  int sign;
  const double front = std::exp(a * std::log(x) - x - ::lgamma_r(a, &sign));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int k = 1; k < 10000 && term > 1e-17 * sum; ++k) { term *= x / (a + k); sum += term; }
    const double lower = front * sum;
    return upper ? 1 - lower : lower;
  }
  // Lentz's evaluation of the continued fraction of the upper one.
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int k = 1; k < 10000; ++k) {
    const double n = -k * (k - a);
    b += 2;
    d = n * d + b;
    c = b + n / c;
    if (d == 0) d = 1e-300;
    if (c == 0) c = 1e-300;
    d = 1 / d;
    const double step = d * c;
    h *= step;
    if (std::fabs(step - 1) < 1e-16) break;
  }
  const double q = front * h;
  return upper ? q : 1 - q;
}
double igamma(double a, double x) { return incomplete_gamma(a, x, false); }
double igammac(double a, double x) { return incomplete_gamma(a, x, true); }

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
