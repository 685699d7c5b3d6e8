// Elementwise functions of one tensor. Integers become the default float first where the result is no integer.
#include <cmath>

#include "ops/arith.h"
#include "ops/complex.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- helpers

static Val zero_of(Val x) { return constant_like(x, 0); }
static Val is_less(Val a, Val b) { return map(Scalar::lt, a, b); }

template <Scalar s>
static Vals float_function(const Args& a) { return {unary_float(s, a[0])}; }

// Rounding: integers are whole already.
template <Scalar s>
static Vals rounding(const Args& a) {
  const Val x = a[0];
  if (is_bool(x.dtype())) a.error("rounding of a bool tensor is not defined", "bool", "a number");
  return {is_float(x.dtype()) ? map(s, x) : copy(x)};
}

static Vals no_bool_abs(const Args& a) {
  if (is_bool(a[0].dtype())) a.error("the absolute value of a bool tensor is not defined", "bool", "a number");
  return {abs_of(a[0])};
}

static Val sign_of(Val x) {
  if (is_bool(x.dtype()) || is_unsigned(x.dtype())) return is_bool(x.dtype()) ? copy(x) : cast(to_bool(x), x.dtype());
  const Val zero = zero_of(x);
  const Val s = cast(is_less(zero, x), x.dtype()) - cast(is_less(x, zero), x.dtype());
  // The gradient is zero where there is one, and ATen's NaN has sign 0 too.
  return s;
}

#define UNARY(id, name, text, ...) \
  static constexpr Op op_##id{{.schema = name "(Tensor self) -> Tensor", .doc = text, .expand = __VA_ARGS__, .forms = Forms::both, .sample = samples}};

// name, scalar op, meaning
#define EACH_FLOAT_FUNCTION(X)                                                                                      \
  X(exp2, exp2, "2 to the power self.") X(expm1, expm1, "e to the power self, minus 1, exact near 0.")              \
  X(log, log, "The natural logarithm.") X(log2, log2, "The logarithm to base 2.")                                   \
  X(log10, log10, "The logarithm to base 10.") X(log1p, log1p, "The natural logarithm of 1 + self, exact near 0.")  \
  X(sqrt, sqrt, "The square root; NaN below 0.") X(rsqrt, rsqrt, "1 / sqrt(self).")                                 \
  X(sigmoid, sigmoid, "1 / (1 + exp(-self)).") X(tanh, tanh, "The hyperbolic tangent.")                             \
  X(erf, erf, "The error function.") X(erfc, erfc, "1 - erf(self), exact for large self.")                          \
  X(erfinv, erfinv, "The inverse of erf; infinite at -1 and 1, NaN beyond.")                                        \
  X(sin, sin, "The sine; radians.") X(cos, cos, "The cosine; radians.") X(tan, tan, "The tangent; radians.")        \
  X(asin, asin, "The arc sine, in radians.") X(acos, acos, "The arc cosine, in radians.")                           \
  X(atan, atan, "The arc tangent, in radians.") X(sinh, sinh, "The hyperbolic sine.")                               \
  X(cosh, cosh, "The hyperbolic cosine.") X(asinh, asinh, "The inverse hyperbolic sine.")                           \
  X(acosh, acosh, "The inverse hyperbolic cosine; NaN below 1.") X(atanh, atanh, "The inverse hyperbolic tangent.") \
  X(lgamma, lgamma, "The logarithm of the absolute value of the gamma function.")                                   \
  X(digamma, digamma, "The derivative of lgamma.")                                                                  \
  X(arcsin, asin, "asin.") X(arccos, acos, "acos.") X(arctan, atan, "atan.") X(arcsinh, asinh, "asinh.")            \
  X(arccosh, acosh, "acosh.") X(arctanh, atanh, "atanh.")                                                           \
  X(special_exp2, exp2, "exp2.") X(special_expm1, expm1, "expm1.") X(special_log1p, log1p, "log1p.")                \
  X(special_erf, erf, "erf.") X(special_erfc, erfc, "erfc.") X(special_erfinv, erfinv, "erfinv.")                   \
  X(special_expit, sigmoid, "sigmoid.") X(special_gammaln, lgamma, "lgamma.") X(special_psi, digamma, "digamma.")   \
  X(special_digamma, digamma, "digamma.")
#define DEFINE_FLOAT_FUNCTION(name, s, text) UNARY(name, #name, text, float_function<Scalar::s>)
EACH_FLOAT_FUNCTION(DEFINE_FLOAT_FUNCTION)

#define EACH_ROUNDING(X)                                                                                     \
  X(floor, floor, "The largest whole number that is not above self.")                                        \
  X(ceil, ceil, "The smallest whole number that is not below self.") X(trunc, trunc, "self without its fraction.") \
  X(fix, trunc, "trunc.") X(round, round, "The nearest whole number, the even one of two.")                  \
  X(special_round, round, "round.")
#define DEFINE_ROUNDING(name, s, text) UNARY(name, #name, text, rounding<Scalar::s>)
EACH_ROUNDING(DEFINE_ROUNDING)

UNARY(abs, "abs", "The absolute value. The gradient at 0 is 0.", no_bool_abs)
UNARY(absolute, "absolute", "abs.", no_bool_abs)
UNARY(negative, "negative", "neg.", [](const Args& a) -> Vals {
  if (is_bool(a[0].dtype())) a.error("negation of a bool tensor is not defined", "bool", "a number", "use logical_not");
  return {-a[0]};
})
UNARY(positive, "positive", "self.", [](const Args& a) -> Vals {
  if (is_bool(a[0].dtype())) a.error("positive of a bool tensor is not defined", "bool", "a number");
  return {copy(a[0])};
})
UNARY(reciprocal, "reciprocal", "1 / self.", [](const Args& a) -> Vals { return {1.0 / cast(a[0], to_floating(a[0].dtype()))}; })
UNARY(square, "square", "self * self.", [](const Args& a) -> Vals {
  const Val x = is_bool(a[0].dtype()) ? cast(a[0], DType::i64) : a[0];
  return {x * x};
})
UNARY(sign, "sign", "-1, 0 or 1.", [](const Args& a) -> Vals { return {sign_of(a[0])}; })
UNARY(sgn, "sgn", "-1, 0 or 1; of complex numbers self / |self|.", [](const Args& a) -> Vals {
  const Val x = a[0];
  if (!is_complex(x.dtype())) return {sign_of(x)};
  const Val size = abs_of(x), none = map(Scalar::eq, size, zero_of(size));
  const Val safe = select(none, constant_like(size, 1), size);
  return {select(none, zero_of(x), x / cast(safe, x.dtype()))};
})
UNARY(frac, "frac", "The fraction of self, with its sign.", [](const Args& a) -> Vals {
  if (!is_float(a[0].dtype())) a.error("only floating tensors have a fraction", cat(a[0].dtype()), "a float dtype");
  return {a[0] - map(Scalar::trunc, a[0])};
})
UNARY(deg2rad, "deg2rad", "Degrees to radians.", [](const Args& a) -> Vals { return {a[0] * (M_PI / 180)}; })
UNARY(rad2deg, "rad2deg", "Radians to degrees.", [](const Args& a) -> Vals { return {a[0] * (180 / M_PI)}; })

// sin(pi x) / (pi x), continued by 1 and, in the gradient, by 0.
static Vals sinc(const Args& a) {
  const Val x = wide(a[0]), one = constant_like(x, 1);
  const Val at_zero = map(Scalar::eq, x, zero_of(x));
  const Val y = select(at_zero, one, x * M_PI);
  return {round_like(select(at_zero, one, map(Scalar::sin, y) / y), a[0])};
}
// As ATen computes it, 16-bit values rounded at every step: the cancellation far below 0 is part of the result.
static Vals ndtr(const Args& a) {
  const DType d = to_floating(a[0].dtype());
  if (!is_reduced_float(d)) return {unary_float(Scalar::normal_cdf, a[0])};
  const Val e = rounded(map(Scalar::erf, rounded(wide(a[0]) * M_SQRT1_2, d)), d);
  return {round_like(rounded(e + 1.0, d) * 0.5, a[0])};
}
UNARY(special_ndtr, "special_ndtr", "The distribution function of the standard normal distribution.", ndtr)

UNARY(sinc, "sinc", "sin(pi self) / (pi self), 1 at 0.", sinc)
UNARY(special_sinc, "special_sinc", "sinc.", sinc)

static Vals logit(const Args& a) {
  Val x = wide(a[0]);
  if (a.has(1)) {
    const Val eps = cast(a[1], x.dtype());
    x = minimum(maximum(x, broadcast_to(eps, x.shape())), broadcast_to(1.0 - eps, x.shape()));
  }
  const DType d = to_floating(a[0].dtype());
  return {round_like(map(Scalar::log, rounded(x / rounded(1.0 - x, d), d)), a[0])};
}
static constexpr Op op_logit{{
    .schema = "logit(Tensor self, float? eps=None) -> Tensor",
    .doc = "log(self / (1 - self)); eps clamps self to [eps, 1 - eps] first.",
    .expand = logit,
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_special_logit{{
    .schema = "special_logit(Tensor self, float? eps=None) -> Tensor",
    .doc = "logit.",
    .expand = logit,
    .forms = Forms::out,
    .sample = samples,
}};

static Vals round_decimals(const Args& a) {
  const Val x = a[0];
  const int64_t d = a.i(1);
  if (!is_float(x.dtype())) return {copy(x)};
  const Val scale = like(wide(x), std::pow(10.0, double(d < 0 ? -d : d)));
  const Val y = d < 0 ? wide(x) / scale : wide(x) * scale;
  const Val r = map(Scalar::round, y);
  return {round_like(d < 0 ? r * scale : r / scale, x)};
}
static constexpr Op op_round_decimals{{
    .schema = "round.decimals(Tensor self, *, int decimals) -> Tensor",
    .doc = "The nearest multiple of 10 to the power -decimals.",
    .expand = round_decimals,
    .forms = Forms::both,
    .sample = samples,
}};

static Vals entropy(const Args& a) {
  const Val x = wide(a[0]), zero = zero_of(x);
  const Val positive = is_less(zero, x), none = map(Scalar::eq, x, zero);
  const Val safe = select(positive, x, constant_like(x, 1));
  const Val value = select(positive, -(x * map(Scalar::log, safe)), constant_like(x, -INFINITY));
  return {round_like(select(is_nan(x), x, select(none, zero, value)), a[0])};
}
UNARY(special_entr, "special_entr", "-self log(self), 0 at 0, -inf below.", entropy)

// --- tests

#define TEST(name, text, ...)                                                                             \
  static constexpr Op op_##name{{                                                                         \
      .schema = #name "(Tensor self) -> Tensor", .doc = text, .expand = [](const Args& a) -> Vals { const Val x = a[0]; return {__VA_ARGS__}; }, .sample = samples}};
static Val answer(Val x, bool v) { return full_int(*x.g, x.shape(), DType::boolean, v); }
static Val equals(Val x, double v) { return map(Scalar::eq, x, constant_like(x, v)); }
// Of complex numbers: is one part, or are both parts?
template <class F>
static Val one_part(Val x, F test) {
  return is_complex(x.dtype()) ? map(Scalar::bor, test(real_part(x)), test(imag_part(x))) : test(x);
}
static Val is_nan_value(Val x) { return is_float(x.dtype()) ? is_nan(x) : answer(x, false); }
static Val is_finite_value(Val x) {
  return is_float(x.dtype()) ? map(Scalar::lt, map(Scalar::abs, x), constant_like(x, INFINITY)) : answer(x, true);
}
static Val is_infinite(Val x) { return is_float(x.dtype()) ? equals(map(Scalar::abs, x), INFINITY) : answer(x, false); }
TEST(isnan, "Is it NaN?", one_part(x, is_nan_value))
TEST(isinf, "Is it infinite?", one_part(x, is_infinite))
TEST(isfinite, "Is it neither NaN nor infinite?",
     is_complex(x.dtype()) ? map(Scalar::band, is_finite_value(real_part(x)), is_finite_value(imag_part(x))) : is_finite_value(x))
TEST(isposinf, "Is it inf?", is_float(x.dtype()) ? equals(x, INFINITY) : answer(x, false))
TEST(isneginf, "Is it -inf?", is_float(x.dtype()) ? equals(x, -INFINITY) : answer(x, false))
TEST(isreal, "Has it no imaginary part?", is_complex(x.dtype()) ? equals(imag_part(x), 0) : answer(x, true))
TEST(signbit, "Is the sign bit set?", sign_bit(x))
TEST(logical_not, "Is it 0?", map(Scalar::bnot, to_bool(x)))
UNARY(bitwise_not, "bitwise_not", "Every bit flipped; of bool, not.", [](const Args& a) -> Vals {
  if (is_float(a[0].dtype())) a.error("bits of floating tensors cannot be flipped", cat(a[0].dtype()), "an integer or bool dtype");
  return {map(Scalar::bnot, a[0])};
})

static Vals nan_to_num(const Args& a) {
  const Val x = a[0];
  if (!is_float(x.dtype())) return {copy(x)};
  auto largest = [](DType d) {
    return d == DType::f16 ? 65504.0 : d == DType::bf16 ? 0x1.fep127 : d == DType::f32 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023;
  };
  const double top = largest(x.dtype());
  auto value = [&](int i, double absent) { return broadcast_to(a.has(i) ? cast(a[i], x.dtype()) : like(x, absent), x.shape()); };
  Val y = select(is_nan(x), value(1, 0), x);
  y = select(equals(x, INFINITY), value(2, top), y);
  return {select(equals(x, -INFINITY), value(3, -top), y)};
}
static constexpr Op op_nan_to_num{{
    .schema = "nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> Tensor",
    .doc = "NaN and infinities replaced: by 0 and the largest finite values unless given.",
    .expand = nan_to_num,
    .forms = Forms::both,
    .sample = samples,
}};

// --- complex numbers

#define PART(id, name, result, text, ...)                                                                         \
  static constexpr Op op_##id{{.schema = name "(Tensor(a) self) -> " result, .doc = text,                         \
                               .expand = [](const Args& a) -> Vals { [[maybe_unused]] const Val x = a[0]; return {__VA_ARGS__}; }, .view = true, .sample = samples}};
#define EACH_PART(X)                                                                                                 \
  X(real, "real", "Tensor(a)", "The real part.", real_part(x))                                                       \
  X(conj, "conj", "Tensor(a)", "The complex conjugate.", conj(x))                                                    \
  X(conj_lazy, "_conj", "Tensor(a)", "The complex conjugate.", conj(x))                                              \
  X(resolve_conj, "resolve_conj", "Tensor(a)", "self with its conjugation carried out.", x)                          \
  X(resolve_neg, "resolve_neg", "Tensor(a)", "self with its negation carried out.", x)                               \
  X(imag, "imag", "Tensor(a)", "The imaginary part.", (require_complex(a), imag_part(x)))                            \
  X(view_as_real, "view_as_real", "Tensor(a)", "(real, imaginary) pairs as a new last dimension.", (require_complex(a), as_pairs(x))) \
  X(view_as_complex, "view_as_complex", "Tensor(a)", "Pairs in the last dimension as complex numbers.", from_pairs(pairs_of(a)))
static void require_complex(const Args& a) {
  if (!is_complex(a[0].dtype())) a.error("this needs a complex tensor", cat(a[0].dtype()), "a complex dtype");
}
static Val pairs_of(const Args& a) {
  const Val x = a[0];
  if ((x.dtype() != DType::f32 && x.dtype() != DType::f64) || x.rank() == 0 || !dim_eq(x.size(-1), 2))
    a.error("these are no pairs of real numbers", cat(x.type()), "float32 or float64 with a last dimension of 2");
  return x;
}
EACH_PART(PART)
UNARY(conj_physical, "conj_physical", "The complex conjugate, in new memory.", [](const Args& a) -> Vals { return {copy(conj(a[0]))}; })
static constexpr Op op_angle{{
    .schema = "angle(Tensor self) -> Tensor",
    .doc = "The argument in the complex plane: 0, or pi for negative numbers.",
    .expand = [](const Args& a) -> Vals {
      if (is_complex(a[0].dtype())) {
        // The gradient at 0 is 0.
        const Val re = real_part(a[0]), im = imag_part(a[0]);
        const Val none = map(Scalar::band, equals(re, 0), equals(im, 0));
        const Val r = map(Scalar::atan2, select(none, zero_of(im), im), select(none, constant_like(re, 1), re));
        return {select(none, stop_gradient(map(Scalar::atan2, im, re)), r)};
      }
      const Val x = cast(a[0], to_floating(a[0].dtype())), zero = zero_of(x);
      const Val r = select(is_less(x, zero), constant_like(x, M_PI), zero);
      return {select(is_nan(x), stop_gradient(x), r)};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static Vals complex_of(const Args& a, bool polar) {
  const Val x = a[0], y = a[1];
  if (x.dtype() != y.dtype() || (x.dtype() != DType::f32 && x.dtype() != DType::f64))
    a.error("the two parts must have one float dtype", cat(x.dtype(), " and ", y.dtype()), "float32 or float64 twice");
  const Dims shape = broadcast_shapes(a.name(), x.shape(), y.shape());
  const Val u = broadcast_to(x, shape), v = broadcast_to(y, shape);
  return {polar ? make_complex(u * map(Scalar::cos, v), u * map(Scalar::sin, v)) : make_complex(u, v)};
}
static constexpr Op op_complex{{
    .schema = "complex(Tensor real, Tensor imag) -> Tensor",
    .doc = "Complex numbers from their parts.",
    .expand = [](const Args& a) { return complex_of(a, false); },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_polar{{
    .schema = "polar(Tensor abs, Tensor angle) -> Tensor",
    .doc = "Complex numbers from absolute value and angle.",
    .expand = [](const Args& a) { return complex_of(a, true); },
    .forms = Forms::out,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.within("log log2 log10 sqrt rsqrt lgamma digamma special_gammaln special_psi special_digamma reciprocal", "0.2..4")
      .within("log1p special_log1p", "-0.9..3").within("acosh arccosh", "1.2..4").within("special_entr", "0.1..2")
      .within("erfinv special_erfinv asin arcsin acos arccos atanh arctanh", "-0.9..0.9")
      .within("logit special_logit", "0.1..0.9").within("tan", "-1.2..1.2")
      .of("logit special_logit", {"[2,3]:-0.5..1.5, 0.2"})
      .of("round.decimals", {"[2,3], decimals=1", "[4]:-300..300, decimals=-2"})
      .of("nan_to_num", {"[4]=nan|inf|-inf|0.5", "[4]=nan|inf|-inf|2, 1.5, 7, -7"})
      .of("isnan isinf isfinite isposinf isneginf signbit isreal", {"[5]=nan|inf|-inf|0.5|-0.0", "[2,3]", "[]"})
      .of("view_as_complex", {"f32[3,2]", "f64[2,2]"})
      .no_gradients("nan_to_num");
}

static const Op* const unary_ops[] = {
#define LIST(name, ...) &op_##name,
    EACH_FLOAT_FUNCTION(LIST) EACH_ROUNDING(LIST) &op_abs, &op_absolute, &op_negative, &op_positive, &op_reciprocal, &op_square, &op_sign,
    &op_sgn, &op_frac, &op_deg2rad, &op_rad2deg, &op_sinc, &op_special_sinc, &op_special_ndtr, &op_logit, &op_special_logit, &op_round_decimals,
    &op_special_entr, &op_isnan, &op_isinf, &op_isfinite, &op_isposinf, &op_isneginf, &op_isreal, &op_signbit,
    &op_logical_not, &op_bitwise_not, &op_nan_to_num, EACH_PART(LIST) &op_conj_physical,
    &op_angle, &op_complex, &op_polar};
OpFamily unary_family() { return unary_ops; }

}  // namespace phlox
