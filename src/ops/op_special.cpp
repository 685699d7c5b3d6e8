// Special functions: those of host code (special_host.h), and what is built on them.
#include <cmath>
#include <numeric>

#include "ops/arith.h"
#include "ops/special_host.h"

namespace phlox {

static void samples(SampleBuilder& s);

using Types = SmallVector<TensorType, 2>;

// --- the extern ops behind: functions of one and two floating tensors of one dtype and shape, named by a string

static Val special1(Val a, std::string_view name);
static Val special2(Val a, Val b, std::string_view name);

static void same_type(const Args& a, Types& out) {
  TensorType t = a[0].type();
  t.strides.clear();
  t.weak = false;
  out.push_back(t);
}
template <class T>
static void apply1(HostCall& c, SpecialFunction1 f) {
  const T* x = c.tensor(0).as<T>();
  for (int64_t i = 0; i < c.out[0].numel(); ++i) c.out[0].as<T>()[i] = T(f(double(x[i])));
}
template <class T>
static void apply2(HostCall& c, SpecialFunction2 f) {
  const T *x = c.tensor(0).as<T>(), *y = c.tensor(1).as<T>();
  for (int64_t i = 0; i < c.out[0].numel(); ++i) c.out[0].as<T>()[i] = T(f(double(x[i]), double(y[i])));
}

// Derivatives as their own special functions say them.
static Val derivative1(std::string_view name, Val x, Val y) {
  auto of = [&](std::string_view n) { return special1(x, n); };
  if (name == "i0") return of("i1");
  if (name == "i0e" || name == "i1" || name == "i1e") {
    const Val zero = map(Scalar::eq, x, constant_like(x, 0)), safe = select(zero, constant_like(x, 1), x);
    const Val sign = cast(map(Scalar::lt, constant_like(x, 0), x), x.dtype()) - cast(map(Scalar::lt, x, constant_like(x, 0)), x.dtype());
    if (name == "i0e") return of("i1e") - sign * y;
    const Val d = name == "i1" ? of("i0") - y / safe : of("i0e") - y * (sign + 1.0 / safe);
    return select(zero, constant_like(x, 0.5), d);
  }
  if (name == "erfcx") return 2.0 * x * y - 2 / std::sqrt(M_PI);
  if (name == "log_ndtr") return std::sqrt(2 / M_PI) / special1(x * -M_SQRT1_2, "erfcx");
  if (name == "ndtri") return std::sqrt(2 * M_PI) * map(Scalar::exp, y * y * 0.5);
  return {};
}
static constexpr Op op_special1{{
    .schema = "prim::special1(Tensor a, str name) -> Tensor",
    .doc = "A special function of one number.",
    .type = same_type,
    .reference = [](HostCall& c) {
      const SpecialFunction1 f = special_function1(c.args[1].text);
      c.out[0].dtype == DType::f64 ? apply1<double>(c, f) : apply1<float>(c, f);
    },
    .vjp = [](Vjp& v) {
      const std::string_view name = v.args().s(1);
      const Val d = derivative1(name, v.in(0), v.out());
      if (!d) fail(ErrorCode::autograd, {.op = std::string(name), .fact = "this op has no gradient"});
      v.set(0, v.grad() * d);
    },
    .sample = samples,
}};
static constexpr Op op_special2{{
    .schema = "prim::special2(Tensor a, Tensor b, str name) -> Tensor",
    .doc = "A special function of two numbers.",
    .type = same_type,
    .reference = [](HostCall& c) {
      const SpecialFunction2 f = special_function2(c.args[2].text);
      c.out[0].dtype == DType::f64 ? apply2<double>(c, f) : apply2<float>(c, f);
    },
    .vjp = [](Vjp& v) {
      const std::string_view name = v.args().s(2);
      const Val a = v.in(0), b = v.in(1);
      if (v.needs(0)) fail(ErrorCode::autograd, {.op = std::string(name), .fact = "there is no gradient for the first argument", .remedy = "detach it"});
      if (name == "zeta") {
        v.set(1, -(v.grad() * a * special2(a + 1.0, b, "zeta")));
      } else if (name == "igamma" || name == "igammac") {
        const Val density = map(Scalar::exp, (a - 1.0) * map(Scalar::log, b) - b - map(Scalar::lgamma, a));
        v.set(1, name == "igamma" ? v.grad() * density : -(v.grad() * density));
      } else {
        fail(ErrorCode::autograd, {.op = std::string(name), .fact = "this op has no gradient"});
      }
    },
    .sample = samples,
}};
static Val special1(Val a, std::string_view name) {
  const Arg args[] = {Arg::of_value(a.id), Arg::of_string(name)};
  return a.g->call(op_info(op_special1), args)[0];
}
static Val special2(Val a, Val b, std::string_view name) {
  const Arg args[] = {Arg::of_value(a.id), Arg::of_value(b.id), Arg::of_string(name)};
  return a.g->call(op_info(op_special2), args)[0];
}

// The name of the host function: the op's without "special_".
static std::string_view function_name(const Args& a) {
  const std::string_view n = a.name();
  return n.substr(0, 8) == "special_" ? n.substr(8) : n;
}
static Val call1(const Args& a, std::string_view name) { return round_like(special1(wide(a[0]), name), a[0]); }
static Vals function1_rule(const Args& a) { return {call1(a, function_name(a))}; }
template <char which>
static Vals modified_i_rule(const Args& a) { return {call1(a, which == '0' ? "i0" : "i1")}; }
static Val call2(const Args& a, Val x, Val y, std::string_view name) {
  const Val both[] = {x, y};
  const DType d = to_floating(result_dtype(both)), at = compute_dtype(d);
  const Dims shape = broadcast_shapes(a.name(), x.shape(), y.shape());
  auto fit = [&](Val v) { return broadcast_to(cast(v, at), shape); };
  return cast(special2(fit(x), fit(y), name), d);
}
static Vals function2_rule(const Args& a) { return {call2(a, a[0], a[1], function_name(a))}; }
template <char which>
static Vals gammainc_rule(const Args& a) { return {call2(a, a[0], a[1], which == 'c' ? "igammac" : "igamma")}; }

#define EACH_FUNCTION1(X)                                                                                              \
  X(i0, "i0", "The modified Bessel function of the first kind, order 0.", function1_rule)                              \
  X(special_i0, "special_i0", "i0.", function1_rule)                                                                   \
  X(special_i0e, "special_i0e", "exp(-|self|) i0(self).", function1_rule)                                              \
  X(special_i1, "special_i1", "The modified Bessel function of the first kind, order 1.", function1_rule)              \
  X(special_i1e, "special_i1e", "exp(-|self|) i1(self).", function1_rule)                                              \
  X(modified_i0, "special_modified_bessel_i0", "i0.", modified_i_rule<'0'>)                                            \
  X(modified_i1, "special_modified_bessel_i1", "special_i1.", modified_i_rule<'1'>)                                    \
  X(modified_k0, "special_modified_bessel_k0", "The modified Bessel function of the second kind, order 0.", function1_rule) \
  X(modified_k1, "special_modified_bessel_k1", "The modified Bessel function of the second kind, order 1.", function1_rule) \
  X(bessel_j0, "special_bessel_j0", "The Bessel function of the first kind, order 0.", function1_rule)                 \
  X(bessel_j1, "special_bessel_j1", "The Bessel function of the first kind, order 1.", function1_rule)                 \
  X(bessel_y0, "special_bessel_y0", "The Bessel function of the second kind, order 0.", function1_rule)                \
  X(bessel_y1, "special_bessel_y1", "The Bessel function of the second kind, order 1.", function1_rule)                \
  X(erfcx, "special_erfcx", "exp(self^2) erfc(self).", function1_rule)                                                 \
  X(log_ndtr, "special_log_ndtr", "The logarithm of ndtr, exact far below 0.", function1_rule)                         \
  X(ndtri, "special_ndtri", "The inverse of ndtr.", function1_rule)
#define FUNCTION1(id, name, text, rule) \
  static constexpr Op op_##id{{.schema = name "(Tensor self) -> Tensor", .doc = text, .expand = rule, .forms = Forms::both, .sample = samples}};
EACH_FUNCTION1(FUNCTION1)
#define EACH_FUNCTION_X(X)                                                                                        \
  X(scaled_k0, "special_scaled_modified_bessel_k0", "exp(x) K0(x).")                                              \
  X(scaled_k1, "special_scaled_modified_bessel_k1", "exp(x) K1(x).")                                              \
  X(spherical_j0, "special_spherical_bessel_j0", "The spherical Bessel function of the first kind, order 0.")     \
  X(airy_ai, "special_airy_ai", "The Airy function Ai.")
#define FUNCTION_X(id, name, text) \
  static constexpr Op op_##id{{.schema = name "(Tensor x) -> Tensor", .doc = text, .expand = function1_rule, .forms = Forms::out, .sample = samples}};
EACH_FUNCTION_X(FUNCTION_X)

#define EACH_POLYNOMIAL(X)                                                                                     \
  X(chebyshev_polynomial_t) X(chebyshev_polynomial_u) X(chebyshev_polynomial_v) X(chebyshev_polynomial_w)      \
  X(shifted_chebyshev_polynomial_t) X(shifted_chebyshev_polynomial_u) X(shifted_chebyshev_polynomial_v)        \
  X(shifted_chebyshev_polynomial_w) X(hermite_polynomial_h) X(hermite_polynomial_he) X(laguerre_polynomial_l)  \
  X(legendre_polynomial_p)
#define POLYNOMIAL(name)                                                                                                  \
  static constexpr Op op_##name{{.schema = "special_" #name "(Tensor x, Tensor n) -> Tensor",                             \
                                 .doc = "The polynomial of degree n at x.", .expand = function2_rule, .forms = Forms::out, .sample = samples}}; \
  static constexpr Op op_##name##_x{{.schema = "special_" #name ".x_scalar(Scalar x, Tensor n) -> Tensor",                \
                                     .doc = "The polynomial of degree n at x.", .expand = function2_rule, .forms = Forms::out, .sample = samples}}; \
  static constexpr Op op_##name##_n{{.schema = "special_" #name ".n_scalar(Tensor x, Scalar n) -> Tensor",                \
                                     .doc = "The polynomial of degree n at x.", .expand = function2_rule, .forms = Forms::out, .sample = samples}};
EACH_POLYNOMIAL(POLYNOMIAL)

#define EACH_FUNCTION2(X)                                                                                                      \
  X(igamma, "igamma(Tensor self, Tensor other)", "The regularised lower incomplete gamma function P(self, other).", gammainc_rule<'p'>, Forms::both) \
  X(igammac, "igammac(Tensor self, Tensor other)", "1 - igamma.", gammainc_rule<'c'>, Forms::both)                            \
  X(gammainc, "special_gammainc(Tensor self, Tensor other)", "igamma.", gammainc_rule<'p'>, Forms::out)                       \
  X(gammaincc, "special_gammaincc(Tensor self, Tensor other)", "igammac.", gammainc_rule<'c'>, Forms::out)                    \
  X(zeta, "special_zeta(Tensor self, Tensor other)", "The Hurwitz zeta function.", function2_rule, Forms::out)                \
  X(zeta_self, "special_zeta.self_scalar(Scalar self, Tensor other)", "special_zeta.", function2_rule, Forms::out)            \
  X(zeta_other, "special_zeta.other_scalar(Tensor self, Scalar other)", "special_zeta.", function2_rule, Forms::out)
#define FUNCTION2(id, schema_text, text, rule, which) \
  static constexpr Op op_##id{{.schema = schema_text " -> Tensor", .doc = text, .expand = rule, .forms = which, .sample = samples}};
EACH_FUNCTION2(FUNCTION2)

// --- derivatives of lgamma

static Vals polygamma_rule(const Args& a) {
  const int64_t n = a.i(0);
  if (n < 0) a.error("the order is negative", cat(n), "at least 0");
  const Val x = wide(a[1]);
  if (n == 0) return {round_like(map(Scalar::digamma, x), a[1])};
  const double factor = (n % 2 ? 1 : -1) * std::tgamma(double(n) + 1);
  return {round_like(special2(constant_like(x, double(n + 1)), x, "zeta") * factor, a[1])};
}
static Vals mvlgamma_rule(const Args& a) {
  const int64_t p = a.i(1);
  if (p > 1000) a.error("the dimension is too large", cat(p), "at most 1000");
  if (p < 1) a.error("the number of dimensions must be positive", cat(p), "at least 1");
  const Val x = wide(a[0]);
  Val s = map(Scalar::lgamma, x);
  for (int64_t k = 1; k < p; ++k) s = s + map(Scalar::lgamma, x - double(k) / 2);
  return {round_like(s + double(p * (p - 1)) / 4 * std::log(M_PI), a[0])};
}
#define EACH_GAMMA(X)                                                                                                         \
  X(polygamma, "polygamma(int n, Tensor self)", "The n-th derivative of digamma.", polygamma_rule)                            \
  X(special_polygamma, "special_polygamma(int n, Tensor self)", "polygamma.", polygamma_rule)                                 \
  X(mvlgamma, "mvlgamma(Tensor self, int p)", "The logarithm of the multivariate gamma function.", mvlgamma_rule)             \
  X(special_multigammaln, "special_multigammaln(Tensor self, int p)", "mvlgamma.", mvlgamma_rule)
#define GAMMA(id, schema_text, text, rule) \
  static constexpr Op op_##id{{.schema = schema_text " -> Tensor", .doc = text, .expand = rule, .forms = Forms::out, .sample = samples}};
EACH_GAMMA(GAMMA)

// --- integers, and floats taken apart

template <class T>
static void gcd_loop(HostCall& c) {
  const T *x = c.tensor(0).as<T>(), *y = c.tensor(1).as<T>();
  for (int64_t i = 0; i < c.out[0].numel(); ++i) c.out[0].as<T>()[i] = T(std::gcd(int64_t(x[i]), int64_t(y[i])));
}
static constexpr Op op_prim_gcd{{
    .schema = "prim::gcd(Tensor a, Tensor b) -> Tensor",
    .doc = "The greatest common divisor of integers.",
    .type = same_type,
    .reference = [](HostCall& c) {
      switch (c.out[0].dtype) {
        case DType::u8: gcd_loop<uint8_t>(c); break;
        case DType::i8: gcd_loop<int8_t>(c); break;
        case DType::i16: gcd_loop<int16_t>(c); break;
        case DType::i32: gcd_loop<int32_t>(c); break;
        default: gcd_loop<int64_t>(c);
      }
    },
    .sample = samples,
}};
struct Integers { Val a, b; };
static Integers integers(const Args& a) {
  const Val both[] = {a[0], a[1]};
  const DType d = result_dtype(both);
  if (!is_int(d)) a.error("only integers have common divisors and multiples", cat(d), "an integer dtype");
  const Dims shape = broadcast_shapes(a.name(), a[0].shape(), a[1].shape());
  return {broadcast_to(cast(a[0], d), shape), broadcast_to(cast(a[1], d), shape)};
}
static Val gcd_of(Integers p) {
  const Arg args[] = {Arg::of_value(p.a.id), Arg::of_value(p.b.id)};
  return p.a.g->call(op_info(op_prim_gcd), args)[0];
}
static constexpr Op op_gcd{{
    .schema = "gcd(Tensor self, Tensor other) -> Tensor",
    .doc = "The greatest common divisor.",
    .expand = [](const Args& a) -> Vals { return {gcd_of(integers(a))}; },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_lcm{{
    .schema = "lcm(Tensor self, Tensor other) -> Tensor",
    .doc = "The least common multiple.",
    .expand = [](const Args& a) -> Vals {
      const Integers p = integers(a);
      const Val r = map(Scalar::mul, map(Scalar::div, p.a, gcd_of(p)), p.b);  // 0 / 0 is 0
      return {is_signed_int(r.dtype()) ? map(Scalar::abs, r) : r};
    },
    .forms = Forms::both,
    .sample = samples,
}};
template <class T>
static void frexp_loop(HostCall& c) {
  for (int64_t i = 0; i < c.out[0].numel(); ++i) {
    int e = 0;
    c.out[0].as<T>()[i] = std::frexp(c.tensor(0).as<T>()[i], &e);
    c.out[1].as<int32_t>()[i] = e;
  }
}
static constexpr Op op_prim_frexp{{
    .schema = "prim::frexp(Tensor a) -> (Tensor mantissa, Tensor exponent)",
    .doc = "self as mantissa * 2^exponent.",
    .type = [](const Args& a, Types& out) {
      same_type(a, out);
      out.push_back(out[0]);
      out[1].dtype = DType::i32;
    },
    .reference = [](HostCall& c) { c.out[0].dtype == DType::f64 ? frexp_loop<double>(c) : frexp_loop<float>(c); },
    .vjp = [](Vjp& v) {
      if (v.grad()) v.set(0, v.grad() * map(Scalar::exp2, -cast(v.out(1), v.grad().dtype())));
    },
    .sample = samples,
}};
static constexpr Op op_frexp{{
    .schema = "frexp.Tensor(Tensor self) -> (Tensor mantissa, Tensor exponent)",
    .doc = "self as mantissa * 2^exponent with 0.5 <= |mantissa| < 1.",
    .expand = [](const Args& a) -> Vals {
      if (!is_float(a[0].dtype())) a.error("only floating tensors have an exponent", cat(a[0].dtype()), "a float dtype");
      const Arg args[] = {Arg::of_value(wide(a[0]).id)};
      const Vals r = a.builder().call(op_info(op_prim_frexp), args);
      return {round_like(r[0], a[0]), r[1]};
    },
    .forms = Forms::out,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::special1", {"f32[4]:0.5..2, 'i0'", "f64[4]:0.5..2, 'erfcx'"}).of("prim::special2", {"f32[4]:1.5..3, f32[4]:1..2, 'zeta'"})
      .of("prim::gcd", {"i64[4]:1..12, i64[4]:1..12"}).of("prim::frexp", {"f32[4]", "f64[2,3]"}).within("special_ndtri", "0.1..0.9").within("special_bessel_y0 special_bessel_y1 special_modified_bessel_k0 special_modified_bessel_k1", "0.5..4")
      .within("special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 special_spherical_bessel_j0", "0.5..4")
      .of("polygamma special_polygamma", {"1, [2,3]:0.5..4", "0, [4]:0.5..4", "2, [4]:0.5..4"}).refuses("polygamma special_polygamma", {"-1, [3]"})
      .of("mvlgamma special_multigammaln", {"[2,3]:3..6, 2", "[4]:2..4, 1"}).refuses("mvlgamma special_multigammaln", {"[3], 0"})
      .of("igamma igammac special_gammainc special_gammaincc", {"[2,3]:0.5..3!, [3]:0.5..3", "[4]:0.5..3!, [4]:0.2..5"})
      .of("special_zeta", {"[2,3]:1.5..4, [3]:0.5..3"}).of("special_zeta.self_scalar", {"2, [4]:0.5..3"}).of("special_zeta.other_scalar", {"[4]:1.5..4, 1"})
      .of("gcd lcm", {"[2,3]:-12..12, [3]:1..12", "[4]:0..20, [4]:0..20"})
      .no_gradients("special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1 special_modified_bessel_i0 special_modified_bessel_i1 special_modified_bessel_k0 special_modified_bessel_k1 special_scaled_modified_bessel_k0 special_scaled_modified_bessel_k1 special_spherical_bessel_j0 special_zeta special_zeta.self_scalar special_zeta.other_scalar");
}

static const Op* const special_ops[] = {
#define LIST(id, ...) &op_##id,
#define LIST_THREE(id) &op_##id, &op_##id##_x, &op_##id##_n,
    &op_special1, &op_special2, EACH_FUNCTION1(LIST) EACH_FUNCTION_X(LIST) EACH_POLYNOMIAL(LIST_THREE) EACH_FUNCTION2(LIST)
    EACH_GAMMA(LIST) &op_prim_gcd, &op_gcd, &op_lcm, &op_prim_frexp, &op_frexp};
OpFamily special_family() { return special_ops; }

}  // namespace phlox
