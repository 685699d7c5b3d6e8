// Bessel functions, modified Bessel functions, the Airy function and spherical j0. f32 computes in f64.
//
// Each half line is cut at one point: a Chebyshev series in x or x^2 near 0, and beyond it the asymptotic
// form with series for its slowly varying factors. Errors are relative but for the zeros of J, Y and Ai(-x),
// where they are a few 1e-16 of the local amplitude.
#pragma once
#include <cstddef>

#include "loop/math_log.h"
#include "loop/math_normal.h"
#include "loop/math_series.h"
#include "loop/math_trig.h"

namespace phlox::math {

// sum c_j T_j(y) by Clenshaw's recurrence.
template <ScalarValue V, size_t n>
V chebyshev(const V& y, const double (&c)[n]) {
  V twice = y + y, b1 = k(y, 0), b2 = k(y, 0);
  for (size_t j = n; --j > 0;) {
    V b = fma(twice, b1, k(y, c[j]) - b2);
    b2 = b1;
    b1 = b;
  }
  return fma(y, b1, k(y, c[0]) - b2);
}
// The variables of the series: x / near - 1 and 2 far / x - 1, held inside [-1, 1].
template <ScalarValue V>
V near_variable(const V& x, double near) {
  return math::at_most(x, 2 * near) * k(x, 1 / near) - k(x, 1);
}
template <ScalarValue V>
V far_variable(const V& x, double far) {
  return k(x, 2 * far) / math::at_least(x, far) - k(x, 1);
}

// e^-|x| I0(x) and e^-|x| I1(x) for |x|.
template <ScalarValue V>
V i0e_positive(const V& x) {
  V near = math::chebyshev(math::near_variable(x, 4), series::i0e_near);
  V far = math::chebyshev(math::far_variable(x, 8), series::i0e_far) / sqrt(x);
  return select(le(x, k(x, 8)), near, far);
}
template <ScalarValue V>
V i1e_positive(const V& x) {
  V near = x * math::chebyshev(math::near_variable(x, 4), series::i1e_near);
  V far = math::chebyshev(math::far_variable(x, 8), series::i1e_far) / sqrt(x);
  return select(le(x, k(x, 8)), near, far);
}
// v e^x, in two factors so that it overflows only where the product does.
template <ScalarValue V>
V times_exp(const V& v, const V& x) {
  V half = math::exp(x * k(x, 0.5));
  return v * half * half;
}
template <ScalarValue V>
V i0e(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::i0e_positive(abs(v)); });
}
template <ScalarValue V>
V i1e(const V& x) {
  return math::through_f64(
      x, []<class W>(const W& v) { return math::flip_sign_by(math::i1e_positive(abs(v)), v); });
}
template <ScalarValue V>
V i0(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W t = abs(v);
    W y = math::times_exp(math::i0e_positive(t), t);
    return select(eq(t, k(v, infinity)), t, y);
  });
}
template <ScalarValue V>
V i1(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W t = abs(v);
    W y = math::times_exp(math::i1e_positive(t), t);
    return math::flip_sign_by(select(eq(t, k(v, infinity)), t, y), v);
  });
}

// K of order 0 or 1 for x > 0, times e^x if scaled.
template <ScalarValue V>
V modified_second(const V& x, int order, bool scaled) {
  V c = math::at_most(x, 2.0);
  V y = fma(c * c, k(x, 0.5), k(x, -1)), log_half = math::log(c * k(x, 0.5));
  V inner =
      order == 0
          ? fma(-log_half, math::chebyshev(y, series::i0_inner), math::chebyshev(y, series::k0_inner))
          : fma(log_half * c, math::chebyshev(y, series::i1_inner), math::chebyshev(y, series::k1_inner) / c);
  V u = math::far_variable(x, 2);
  V outer =
      (order == 0 ? math::chebyshev(u, series::k0e_outer) : math::chebyshev(u, series::k1e_outer)) / sqrt(x);
  if (scaled) {
    inner = inner * math::exp(c);
  } else {
    outer = math::times_exp(outer, -x);
  }
  V r = select(le(x, k(x, 2)), inner, outer);
  r = select(eq(x, k(x, 0)), k(x, infinity), r);
  r = select(eq(x, k(x, infinity)), k(x, 0), r);
  return select(lt(x, k(x, 0)), k(x, not_a_number), r);
}
template <ScalarValue V>
V k0(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::modified_second(v, 0, false); });
}
template <ScalarValue V>
V k1(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::modified_second(v, 1, false); });
}
template <ScalarValue V>
V k0e(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::modified_second(v, 0, true); });
}
template <ScalarValue V>
V k1e(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::modified_second(v, 1, true); });
}

// Hankel's form for x > 8: sqrt(2/(pi x)) (P cos chi - Q sin chi) and, for Y, (P sin chi + Q cos chi), with
// chi = x - pi/4 or x - 3 pi/4, whose sine and cosine come from those of x without subtracting in the
// argument.
template <ScalarValue V>
V hankel(const V& x, int order, bool second) {
  V c = math::at_most(math::at_least(x, 8.0), 1e300);
  V w = k(x, 8) / c;
  V y = fma(w * w, k(x, 2), k(x, -1));
  V p = order == 0 ? math::chebyshev(y, series::hankel0_p) : math::chebyshev(y, series::hankel1_p);
  V q = (order == 0 ? math::chebyshev(y, series::hankel0_q) : math::chebyshev(y, series::hankel1_q)) / c;
  Angle<V> a = math::reduce_angle64(c);
  SinCos<V> kernel = math::sin_cos_kernel(a, false);
  V s = math::pick_quadrant(a, kernel, 0), t = math::pick_quadrant(a, kernel, 1);
  // sqrt(2) times the cosine and the sine of chi
  V cos = order == 0 ? t + s : s - t;
  V sin = order == 0 ? s - t : -(s + t);
  V wave = second ? fma(p, sin, q * cos) : fma(p, cos, -(q * sin));
  return wave * k(x, 0.56418958354775628695) / sqrt(c);
}
template <ScalarValue V>
V bessel_near_variable(const V& x) {
  V c = math::at_most(x, 8.0);
  return fma(c * c, k(x, 0.03125), k(x, -1));
}
template <ScalarValue V>
V bessel_first(const V& x, int order) {
  V t = abs(x), y = math::bessel_near_variable(t);
  V near = order == 0 ? math::chebyshev(y, series::j0_near) : t * math::chebyshev(y, series::j1_near);
  V r = select(le(t, k(x, 8)), near, math::hankel(t, order, false));
  r = select(eq(t, k(x, infinity)), k(x, 0), r);
  r = select(is_nan(x), x, r);
  return order == 0 ? r : math::flip_sign_by(r, x);
}
template <ScalarValue V>
V bessel_second(const V& x, int order) {
  V c = math::at_most(x, 8.0), y = math::bessel_near_variable(x);
  V l = math::log(c), scale = k(x, 0.63661977236758134308);
  V near = order == 0
               ? fma(scale * l, math::chebyshev(y, series::j0_near), math::chebyshev(y, series::y0_near))
               : fma(scale, l * c * math::chebyshev(y, series::j1_near) - k(x, 1) / c,
                     c * math::chebyshev(y, series::y1_near));
  V r = select(le(x, k(x, 8)), near, math::hankel(x, order, true));
  r = select(eq(x, k(x, 0)), k(x, -infinity), r);
  r = select(eq(x, k(x, infinity)), k(x, 0), r);
  return select(is_nan(x), x, select(lt(x, k(x, 0)), k(x, not_a_number), r));
}
template <ScalarValue V>
V j0(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::bessel_first(v, 0); });
}
template <ScalarValue V>
V j1(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::bessel_first(v, 1); });
}
template <ScalarValue V>
V y0(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::bessel_second(v, 0); });
}
template <ScalarValue V>
V y1(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) { return math::bessel_second(v, 1); });
}

template <ScalarValue V>
V airy_ai(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W third = k(v, 1.0 / 3);
    W middle =
        math::chebyshev(fma(math::at_most(math::at_least(v, -4.0), 2.0), third, third), series::airy_middle);
    W t = math::at_least(abs(v), 2.0), root = sqrt(t);
    W zeta = k(v, 2.0 / 3) * t * root, fourth = sqrt(root);
    // The rounding of zeta is worth zeta ulps of e^-zeta: carry its low part.
    W root_lo = fma(-root, root, t) / (root + root);
    Two<W> product = math::two_product(t, root);
    product.lo = fma(t, root_lo, product.lo);
    W zeta_lo = fma(product.hi, k(v, 2.0 / 3), -zeta) +
                fma(product.hi, k(v, 0x1.5555555555555p-55), product.lo * k(v, 2.0 / 3));
    W e = math::exp(-zeta);
    W right = k(v, 0.28209479177387814347) / fourth * fma(e, -zeta_lo, e) *
              math::chebyshev(math::far_variable(zeta, 0x1.e2b7dddfefa66p+0), series::airy_right);
    W far = math::at_least(zeta, 16.0 / 3);
    W w = k(v, 16.0 / 3) / far;
    W y = fma(w * w, k(v, 2), k(v, -1));
    W p = math::chebyshev(y, series::airy_left_p), q = math::chebyshev(y, series::airy_left_q) / far;
    Angle<W> a = math::reduce_angle64(math::at_most(far, 1e300));
    a.lo = a.lo + zeta_lo;
    SinCos<W> kernel = math::sin_cos_kernel(a, false);
    W s = math::pick_quadrant(a, kernel, 0), c = math::pick_quadrant(a, kernel, 1);
    W left = k(v, 0.39894228040143267794) / fourth * fma(p, c + s, q * (s - c));
    W r = select(gt(v, k(v, 2)), right, select(lt(v, k(v, -4)), left, middle));
    r = select(eq(v, k(v, infinity)), k(v, 0), r);
    r = select(eq(v, k(v, -infinity)), k(v, not_a_number), r);  // as in torch
    return select(is_nan(v), v, r);
  });
}

// sin(x) / x
template <ScalarValue V>
V spherical_bessel_j0(const V& x) {
  return math::through_f64(x, []<class W>(const W& v) {
    W z = v * v;
    W near = math::poly(z, {1, -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800});
    W r = select(lt(abs(v), k(v, 0.25)), near, math::sin(v) / v);
    return select(eq(abs(v), k(v, infinity)), k(v, 0), r);
  });
}

}  // namespace phlox::math
