// Inverses and scaled forms of the normal distribution: erfcx, log_ndtr, erfinv, ndtri. f32 computes them in
// f64.
#pragma once
#include "loop/math_erf.h"
#include "loop/math_log.h"

namespace phlox::math {

// Runs an f64 text for a value of either type; f32 goes there and back. The text is instantiated for one type
// only.
template <ScalarValue V, class F>
V through_f64(const V& x, F f) {
  if constexpr (std::same_as<decltype(to_f64(x)), V>) {
    if (is_f64(x)) return f(x);
  }
  return math::narrow(x, f(to_f64(x)));
}
template <ScalarValue V, class F>
V through_f64(const V& x, const V& y, F f) {
  if constexpr (std::same_as<decltype(to_f64(x)), V>) {
    if (is_f64(x)) return f(x, y);
  }
  return math::narrow(x, f(to_f64(x), to_f64(y)));
}

// e^(x^2) erfc(x)
template <ScalarValue V>
V erfcx(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W y = abs(v), one = k(v, 1);
    W t = math::at_most(y, 39.0) * k(v, 0x1.6a09e667f3bcdp+0);
    W near = math::normal_ratio(t);
    // 1/(x sqrt(pi)) (1 - 1/(2 x^2) + 3/(4 x^4) - ...), enough from 26 on
    W w = one / y, z = w * w;
    W far = k(v, 0.56418958354775628695) * w *
            math::poly(z, {1, -0.5, 0.75, -1.875, 6.5625, -29.53125, 162.421875});
    W right = select(lt(y, k(v, 26)), near + near, far);
    Two<W> square = math::two_product(v, v);
    W e = math::exp(square.hi);
    W left = e + e;
    left = select(lt(left, k(v, infinity)), fma(left, square.lo, left), left) - right;
    return select(is_nan(v), v, select(lt(v, k(v, 0)), left, right));
  });
}

// log Phi(x)
template <ScalarValue V>
V log_ndtr(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W t = abs(v), zero = k(v, 0);
    W c = math::at_most(t, 39.0);
    // Far out the ratio is 1/(t sqrt(2 pi)) (1 - 1/t^2 + 3/t^4 - ...)
    W w = k(v, 1) / t, z = w * w;
    W ratio = select(lt(t, k(v, 39)), math::normal_ratio(c),
                     k(v, 0.39894228040143267794) * w * math::poly(z, {1, -1, 3, -15, 105, -945}));
    W lower = math::log(ratio) - k(v, 0.5) * t * t;
    W upper = math::log1p(-math::normal_cdf(-t));
    W y = select(lt(v, k(v, -0.5)), lower, select(lt(v, zero), math::log(math::normal_cdf(v)), upper));
    return select(eq(t, k(v, infinity)), select(lt(v, zero), v, zero), select(is_nan(v), v, y));
  });
}

// One step of Halley's method for a root of F with F''/F' = -2 y (erf) or -y (Phi): `excess` is F / F'.
template <ScalarValue V>
V halley(const V& y, const V& excess, double curvature) {
  return y - excess / (k(y, 1) + k(y, 0.5 * curvature) * y * excess);
}

template <ScalarValue V>
V erfinv(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W ax = abs(v), one = k(v, 1);
    // A guess to 2^-20 in w = -log(1 - x^2), then one step that triples the digits.
    W rest = one - ax;
    W w = -math::log(rest * (one + ax));
    W a = w - k(v, 2.5), b = sqrt(math::at_least(w, 1.0)) - k(v, 3);
    W small = math::poly(a, {1.50140941, 0.246640816, -0.00417761505, -0.00125385006, 0.000218498142,
                             -4.34327694e-6, -3.49508809e-6, 3.38170622e-7, 2.53031818e-8});
    W large = math::poly(b, {2.8329761, 1.00168967, 0.00946418289, -0.00777291786, 0.00568333594,
                             -0.00324228592, 0.00123564375, -0.000285836286, 3.56157834e-5, -1.79114011e-6});
    W y = ax * select(lt(w, k(v, 5)), small, large);
    W z = y * y;
    W near = fma(y, math::erf_small(z), y - ax), far = rest - math::erfc(y);
    W excess = select(lt(ax, k(v, 0.5)), near, far) * (k(v, 0.88622692545275801365) * math::exp(z));
    y = math::halley(y, excess, 2);
    y = select(lt(ax, one), y, select(eq(ax, one), k(v, infinity), k(v, not_a_number)));
    y = select(lt(ax, k(v, 0x1p-500)), ax * k(v, 0.88622692545275801365), y);
    return math::copy_sign(y, v);
  });
}

// The x with Phi(x) = p.
template <ScalarValue V>
V ndtri(const V& x) {
  return math::through_f64(x, []<class W>(const W& p) {
    W one = k(p, 1), half = k(p, 0.5), zero = k(p, 0);
    auto upper = gt(p, half);
    W q = select(upper, one - p, p);
    // A rational guess in sqrt(-2 log q) to 5e-4 for the tail, the odd series for the middle; then three
    // steps.
    W s = sqrt(k(p, -2) * math::log(q));
    W t =
        s - math::poly(s, {2.515517, 0.802853, 0.010328}) / math::poly(s, {1, 1.432788, 0.189269, 0.001308});
    W c = half - q;  // exact near the middle
    for (int i = 0; i < 3; ++i) {
      // Phi(-t) - q relative to the density at t, both without the common factor where it would vanish.
      W tail = math::normal_cdf(-t);
      W centre = fma(t * k(p, 0.35355339059327376220), math::erf_small(t * t * half),
                     t * k(p, 0.35355339059327376220) - c);
      W excess = select(lt(c, k(p, 0.2)), centre, q - tail);
      W square = half * t * t;
      excess = excess * (k(p, 2.50662827463100050242) * math::exp(square));
      t = math::halley(t, excess, 1);
    }
    W y = select(upper, t, -t);
    y = select(eq(q, zero), select(upper, k(p, infinity), k(p, -infinity)), y);
    y = select(eq(p, half), zero, y);
    return select(logical_and(ge(p, zero), le(p, one)), y, k(p, not_a_number));
  });
}

}  // namespace phlox::math
