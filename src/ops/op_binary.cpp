// Elementwise functions of two and three tensors, with ATen's promotion and broadcasting.
#include <cmath>

#include "ops/arith.h"
#include "ops/complex.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- helpers

struct Pair { Val a, b; };

// Both of one dtype and shape. `floating`: integers become the default float.
static Pair together(const char* op, Val a, Val b, bool floating = false) {
  const Val both[] = {a, b};
  DType d = result_dtype(both);
  if (floating) d = to_floating(d);
  const Dims shape = broadcast_shapes(op, a.shape(), b.shape());
  return {broadcast_to(cast(a, d), shape, op), broadcast_to(cast(b, d), shape, op)};
}
static Pair widened(Pair p) { return {wide(p.a), wide(p.b)}; }
static Val lt(Val a, Val b) { return map(Scalar::lt, a, b); }
static Val le(Val a, Val b) { return map(Scalar::le, a, b); }
static Val eq(Val a, Val b) { return map(Scalar::eq, a, b); }
static Val both_of(Val a, Val b) { return map(Scalar::band, a, b); }
static Val either(Val a, Val b) { return map(Scalar::bor, a, b); }
static Val is_zero(Val a) { return eq(a, constant_like(a, 0)); }

// A function of two tensors; most come with a number as the second one too.
#define TENSORS(id, name, text, rule, ...) \
  static constexpr Op op_##id{{.schema = name "(Tensor self, Tensor other) -> Tensor", .doc = text, .expand = rule, __VA_ARGS__, .sample = samples}};
#define WITH_NUMBER(id, name, text, rule)                                                                         \
  static constexpr Op op_##id{{.schema = name ".Tensor(Tensor self, Tensor other) -> Tensor", .doc = text,        \
                               .expand = rule, .forms = Forms::both, .sample = samples}};                                            \
  static constexpr Op op_##id##_number{{.schema = name ".Scalar(Tensor self, Scalar other) -> Tensor", .doc = text, \
                                        .expand = rule, .forms = Forms::both, .sample = samples}};
#define LIST_ONE(id, ...) &op_##id,
#define LIST_TWO(id, ...) &op_##id, &op_##id##_number,

// --- comparisons

template <Scalar s, bool swapped = false>
static Vals comparison(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  return {swapped ? map(s, p.b, p.a) : map(s, p.a, p.b)};
}
#define EACH_COMPARISON(X)                                                                                            \
  X(eq, "eq", "self == other.", comparison<Scalar::eq>) X(ne, "ne", "self != other.", comparison<Scalar::ne>)         \
  X(lt, "lt", "self < other.", comparison<Scalar::lt>) X(le, "le", "self <= other.", comparison<Scalar::le>)          \
  X(gt, "gt", "self > other.", (comparison<Scalar::lt, true>)) X(ge, "ge", "self >= other.", (comparison<Scalar::le, true>)) \
  X(not_equal, "not_equal", "ne.", comparison<Scalar::ne>) X(less, "less", "lt.", comparison<Scalar::lt>)             \
  X(less_equal, "less_equal", "le.", comparison<Scalar::le>)                                                          \
  X(greater, "greater", "gt.", (comparison<Scalar::lt, true>))                                                        \
  X(greater_equal, "greater_equal", "ge.", (comparison<Scalar::le, true>))
EACH_COMPARISON(WITH_NUMBER)

static constexpr Op op_isclose{{
    .schema = "isclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> Tensor",
    .doc = "Is |self - other| <= atol + rtol |other|? Equal infinities are close.",
    .expand = [](const Args& a) -> Vals {
      if (a[0].dtype() != a[1].dtype())
        a.error("the operands have different dtypes", cat(a[0].dtype(), " and ", a[1].dtype()), "one dtype");
      if (a.f(2) < 0 || a.f(3) < 0) a.error("tolerances may not be negative", cat("rtol ", a.f(2), ", atol ", a.f(3)), "0 or more");
      const Pair p = together("isclose", a[0], a[1]);
      const bool floating = is_float(p.a.dtype()) || is_complex(p.a.dtype());
      Val close = eq(p.a, p.b);
      if (a.b(4) && floating) close = either(close, both_of(is_nan(p.a), is_nan(p.b)));
      const Pair w{cast(p.a, floating ? compute_dtype(p.a.dtype()) : DType::f64), cast(p.b, floating ? compute_dtype(p.b.dtype()) : DType::f64)};
      const Val distance = abs_of(w.a - w.b), allowed = abs_of(w.b * a.f(2)) + a.f(3);
      const Val finite = lt(distance, constant_like(distance, INFINITY));
      return {either(close, both_of(finite, le(distance, allowed)))};
    },
    .sample = samples,
}};

// --- logic and bits

template <Scalar s>
static Vals logical(const Args& a) { return {binary(a.name(), s, to_bool(a[0]), to_bool(a[1]))}; }
#define EACH_LOGICAL(X)                                                                                                \
  X(logical_and, "logical_and", "Are both nonzero?", logical<Scalar::band>, .forms = Forms::both)                      \
  X(logical_or, "logical_or", "Is one nonzero?", logical<Scalar::bor>, .forms = Forms::both)                           \
  X(logical_xor, "logical_xor", "Is exactly one nonzero?", logical<Scalar::bxor>, .forms = Forms::both)
EACH_LOGICAL(TENSORS)

template <Scalar s>
static Vals bits(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  if (is_float(p.a.dtype())) a.error("floating tensors have no bit operations", cat(p.a.dtype()), "integers or bool");
  return {map(s, p.a, p.b)};
}
static int64_t bits_of(DType d) { return 8 * dtype_bytes(d); }
// A shift by as many bits as there are, or more, or by a negative amount, leaves nothing: 0, or copies of the sign bit.
template <Scalar s>
static Vals shift(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  if (is_float(p.a.dtype())) {
    const Val power = map(Scalar::exp2, s == Scalar::shl ? p.b : -p.b);
    return {p.a * power};
  }
  const int64_t n = bits_of(p.a.dtype());
  const Val inside = both_of(le(constant_like(p.b, 0), p.b), lt(p.b, constant_like(p.b, double(n))));
  if (s == Scalar::shl) return {select(inside, map(Scalar::shl, p.a, p.b), constant_like(p.a, 0))};
  const bool sign = is_signed_int(p.a.dtype());
  if (sign) return {map(Scalar::shr, p.a, select(inside, p.b, constant_like(p.b, double(n - 1))))};
  return {select(inside, map(Scalar::shr, p.a, p.b), constant_like(p.a, 0))};
}
#define EACH_BITS(X)                                                                                      \
  X(bitwise_and, "bitwise_and", "self & other, of integers and bools.", bits<Scalar::band>)              \
  X(bitwise_or, "bitwise_or", "self | other, of integers and bools.", bits<Scalar::bor>)                 \
  X(bitwise_xor, "bitwise_xor", "self ^ other, of integers and bools.", bits<Scalar::bxor>)              \
  X(and_, "__and__", "bitwise_and.", bits<Scalar::band>) X(or_, "__or__", "bitwise_or.", bits<Scalar::bor>) \
  X(xor_, "__xor__", "bitwise_xor.", bits<Scalar::bxor>)                                                 \
  X(lshift, "__lshift__", "bitwise_left_shift.", shift<Scalar::shl>)                                     \
  X(rshift, "__rshift__", "bitwise_right_shift.", shift<Scalar::shr>)
EACH_BITS(WITH_NUMBER)
#define SHIFT(id, name, text, rule)                                                                                       \
  static constexpr Op op_##id{{.schema = name ".Tensor(Tensor self, Tensor other) -> Tensor", .doc = text, .expand = rule, \
                               .forms = Forms::both, .sample = samples}};                                                                    \
  static constexpr Op op_##id##_number{{.schema = name ".Tensor_Scalar(Tensor self, Scalar other) -> Tensor", .doc = text, \
                                        .expand = rule, .forms = Forms::both, .sample = samples}};                                           \
  static constexpr Op op_##id##_of_number{{.schema = name ".Scalar_Tensor(Scalar self, Tensor other) -> Tensor", .doc = text, \
                                           .expand = rule, .sample = samples}};
SHIFT(left_shift, "bitwise_left_shift", "self << other; 0 where other is not within the bits.", shift<Scalar::shl>)
SHIFT(right_shift, "bitwise_right_shift", "self >> other; only the sign is left where other is not within the bits.", shift<Scalar::shr>)
#define BITS_OF_NUMBER(id, name, rule) \
  static constexpr Op op_##id##_of_number{{.schema = name ".Scalar_Tensor(Scalar self, Tensor other) -> Tensor", .doc = name ".Tensor.", .expand = rule, .sample = samples}};
BITS_OF_NUMBER(bitwise_and, "bitwise_and", bits<Scalar::band>)
BITS_OF_NUMBER(bitwise_or, "bitwise_or", bits<Scalar::bor>)
BITS_OF_NUMBER(bitwise_xor, "bitwise_xor", bits<Scalar::bxor>)

// --- extremes

// The gradient of the ignoring-NaN forms goes to self where self is chosen, ties included.
static Vals fmax_rule(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  return {is_float(p.a.dtype()) ? select(either(le(p.b, p.a), is_nan(p.b)), p.a, p.b) : map(Scalar::max, p.a, p.b)};
}
static Vals fmin_rule(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  return {is_float(p.a.dtype()) ? select(either(le(p.a, p.b), is_nan(p.b)), p.a, p.b) : map(Scalar::min, p.a, p.b)};
}
static Vals maximum_rule(const Args& a) { return {binary(a.name(), Scalar::max, a[0], a[1])}; }
static Vals minimum_rule(const Args& a) { return {binary(a.name(), Scalar::min, a[0], a[1])}; }
#define EACH_EXTREME(X)                                                                                           \
  X(maximum, "maximum", "The larger one; NaN if either is. Ties share the gradient.", maximum_rule, .forms = Forms::out) \
  X(minimum, "minimum", "The smaller one; NaN if either is. Ties share the gradient.", minimum_rule, .forms = Forms::out) \
  X(max_other, "max.other", "maximum.", maximum_rule, .forms = Forms::out)                                        \
  X(min_other, "min.other", "minimum.", minimum_rule, .forms = Forms::out)                                        \
  X(fmax, "fmax", "The larger one; the other one where one is NaN.", fmax_rule, .forms = Forms::out)              \
  X(fmin, "fmin", "The smaller one; the other one where one is NaN.", fmin_rule, .forms = Forms::out)
EACH_EXTREME(TENSORS)

// --- clamp: a bound that is crossed replaces the value; one that is reached leaves the gradient with the value

static Val clamped(const char* op, Val x, Val lo, Val hi) {
  const Val all[] = {x, lo, hi};
  const DType d = result_dtype(all);
  Dims shape = x.shape();
  if (lo) shape = broadcast_shapes(op, shape, lo.shape());
  if (hi) shape = broadcast_shapes(op, shape, hi.shape());
  auto fit = [&](Val v) { return broadcast_to(cast(v, d), shape, op); };
  auto crossed = [&](Val test, Val bound, bool nan_counts) {
    return nan_counts && is_float(d) ? either(test, is_nan(bound)) : test;
  };
  x = fit(x);
  if (lo) { const bool t = lo.rank() > 0; lo = fit(lo); x = select(crossed(lt(x, lo), lo, t), lo, x); }
  if (hi) { const bool t = hi.rank() > 0; hi = fit(hi); x = select(crossed(lt(hi, x), hi, t), hi, x); }
  return x;
}
static Vals clamp_rule(const Args& a) {
  if (!a.has(1) && !a.has(2)) a.error("no bound is given", "None and None", "min, max or both");
  if (is_bool(a[0].dtype())) a.error("bool tensors cannot be clamped", "bool", "a number");
  return {clamped(a.name(), a[0], a.optional(1), a.optional(2))};
}
static Vals clamp_min_rule(const Args& a) { return {clamped(a.name(), a[0], a[1], {})}; }
static Vals clamp_max_rule(const Args& a) { return {clamped(a.name(), a[0], {}, a[1])}; }
#define CLAMP(id, schema_text, text, rule) \
  static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .forms = Forms::both, .sample = samples}};
#define EACH_CLAMP(X)                                                                                                   \
  X(clamp, "clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor", "self inside [min, max].", clamp_rule)   \
  X(clamp_tensor, "clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor", "self inside [min, max].", clamp_rule) \
  X(clip, "clip(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor", "clamp.", clamp_rule)                      \
  X(clip_tensor, "clip.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor", "clamp.", clamp_rule)        \
  X(clamp_min, "clamp_min(Tensor self, Scalar min) -> Tensor", "self, but at least min.", clamp_min_rule)               \
  X(clamp_min_tensor, "clamp_min.Tensor(Tensor self, Tensor min) -> Tensor", "self, but at least min.", clamp_min_rule) \
  X(clamp_max, "clamp_max(Tensor self, Scalar max) -> Tensor", "self, but at most max.", clamp_max_rule)                \
  X(clamp_max_tensor, "clamp_max.Tensor(Tensor self, Tensor max) -> Tensor", "self, but at most max.", clamp_max_rule)
EACH_CLAMP(CLAMP)

// --- division and remainders

static Vals true_division(const Args& a) { return {a[0] / a[1]}; }

// The quotient rounded down, as Python's //, from a remainder that is exact.
static Val floor_quotient(Pair p) {
  if (!is_float(p.a.dtype())) return map(Scalar::floordiv, p.a, p.b);
  const DType d = p.a.dtype();
  p = {stop_gradient(wide(p.a)), stop_gradient(wide(p.b))};
  const Val zero = constant_like(p.a, 0), one = constant_like(p.a, 1), plain = map(Scalar::div, p.a, p.b);
  const Val rest = map(Scalar::fmod, p.a, p.b);
  Val q = map(Scalar::div, p.a - rest, p.b);
  const Val signs_differ = map(Scalar::bxor, lt(p.b, zero), lt(rest, zero));
  q = q - select(both_of(map(Scalar::ne, rest, zero), signs_differ), one, zero);
  Val whole = map(Scalar::floor, q);
  whole = whole + select(lt(constant_like(q, 0.5), q - whole), one, zero);
  const Val signed_zero = select(sign_bit(plain), constant_like(q, -0.0), zero);
  const Val r = select(map(Scalar::ne, q, zero), whole, signed_zero);
  return cast(select(eq(p.b, zero), plain, r), d);
}
static Vals floor_divide_rule(const Args& a) { return {floor_quotient(together(a.name(), a[0], a[1]))}; }

static Vals div_mode_rule(const Args& a) {
  if (!a.has(2)) return true_division(a);
  const std::string_view mode = a.s(2);
  if (mode == "floor") return floor_divide_rule(a);
  if (mode != "trunc") a.error("unknown rounding mode", std::string(mode), "None, 'trunc' or 'floor'");
  const Pair p = together(a.name(), a[0], a[1]);
  if (!is_float(p.a.dtype())) return {map(Scalar::div, p.a, p.b)};
  return {map(Scalar::trunc, map(Scalar::div, p.a, p.b))};
}
static Vals remainder_rule(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  if (!is_float(p.a.dtype())) return {map(Scalar::floormod, p.a, p.b)};
  const Val zero = constant_like(p.a, 0), rest = map(Scalar::fmod, p.a, p.b);
  const Val signs_differ = map(Scalar::bxor, lt(p.b, zero), lt(rest, zero));
  return {rest + select(both_of(map(Scalar::ne, rest, zero), signs_differ), p.b, zero)};
}
static Vals fmod_rule(const Args& a) { return {binary(a.name(), Scalar::fmod, a[0], a[1])}; }
#define EACH_DIVISION(X)                                                                                     \
  X(divide, "divide", "div.", true_division) X(true_divide, "true_divide", "div.", true_division)            \
  X(remainder, "remainder", "The remainder with the sign of other, as Python's %.", remainder_rule)          \
  X(fmod, "fmod", "The remainder with the sign of self, as C's fmod.", fmod_rule)
EACH_DIVISION(WITH_NUMBER)
#define DIVISION_MODE(id, name, other)                                                                       \
  static constexpr Op op_##id{{.schema = name "(Tensor self, " other " other, *, str? rounding_mode) -> Tensor", \
                               .doc = "self / other; mode 'trunc' rounds towards 0, 'floor' down.",          \
                               .expand = div_mode_rule, .forms = Forms::both, .sample = samples}};
DIVISION_MODE(div_mode, "div.Tensor_mode", "Tensor")
DIVISION_MODE(div_mode_number, "div.Scalar_mode", "Scalar")
DIVISION_MODE(divide_mode, "divide.Tensor_mode", "Tensor")
DIVISION_MODE(divide_mode_number, "divide.Scalar_mode", "Scalar")
TENSORS(floor_divide, "floor_divide", "self / other rounded down.", floor_divide_rule, .forms = Forms::both)
static constexpr Op op_floor_divide_number{{
    .schema = "floor_divide.Scalar(Tensor self, Scalar other) -> Tensor",
    .doc = "self / other rounded down.",
    .expand = floor_divide_rule,
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_remainder_of_number{{
    .schema = "remainder.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
    .doc = "remainder.Tensor.",
    .expand = remainder_rule,
    .sample = samples,
}};

// --- sums and products under other names

static Val times(const char* op, Val a, Val b) {
  const Val both[] = {a, b};
  return binary(op, is_bool(result_dtype(both)) ? Scalar::band : Scalar::mul, a, b);
}
static Val minus(const Args& a, Val x, Val y) {
  const Val both[] = {x, y};
  if (is_bool(result_dtype(both)))
    a.error("subtraction of bool tensors is not defined", "two bool operands", "numbers", "use logical_xor");
  if (a.is_static_number(2) && a.f(2) == 1) return x - y;
  const Val scaled = y * a[2];
  if (y.type().weak) scaled.g->graph().set_weak(scaled.id);  // a product of numbers is a number
  return x - scaled;
}
static Vals multiply_rule(const Args& a) { return {times("multiply", a[0], a[1])}; }
static Vals subtract_rule(const Args& a) { return {minus(a, a[0], a[1])}; }
static Vals rsub_rule(const Args& a) { return {minus(a, a[1], a[0])}; }
WITH_NUMBER(multiply, "multiply", "mul.", multiply_rule)
#define SCALED(id, name, other, star, rule, which)                                                            \
  static constexpr Op op_##id{{.schema = name "(Tensor self, " other " other, " star "Scalar alpha=1) -> Tensor", \
                               .doc = "Differences with one side scaled by alpha.", .expand = rule, .forms = which, .sample = samples}};
SCALED(subtract, "subtract.Tensor", "Tensor", "*, ", subtract_rule, Forms::both)
SCALED(subtract_number, "subtract.Scalar", "Scalar", "", subtract_rule, Forms::in_place)
SCALED(rsub, "rsub.Tensor", "Tensor", "*, ", rsub_rule, Forms::none)
SCALED(rsub_number, "rsub.Scalar", "Scalar", "", rsub_rule, Forms::none)

// t1 * t2 or t1 / t2, scaled, added to self; the three promote together.
template <Scalar s>
static Vals add_combined(const Args& a) {
  const Val all[] = {a[0], a[1], a[2]};
  const DType d = result_dtype(all);
  if (s == Scalar::div && !is_float(d) && !is_complex(d)) a.error("integer division in addcdiv is not defined", cat(d), "a float dtype");
  Dims shape = broadcast_shapes(a.name(), a[1].shape(), a[2].shape());
  shape = broadcast_shapes(a.name(), a[0].shape(), shape);
  auto fit = [&](Val v) { return broadcast_to(cast(v, compute_dtype(d)), shape, a.name()); };
  const bool plain = a.is_static_number(3) && a.f(3) == 1;
  const Val t = plain ? fit(a[1]) : fit(a[1]) * a[3];
  return {cast(fit(a[0]) + map(s, t, fit(a[2])), d)};
}
#define EACH_COMBINED(X)                                                                             \
  X(addcmul, "addcmul", "self + value * tensor1 * tensor2.", add_combined<Scalar::mul>)              \
  X(addcdiv, "addcdiv", "self + value * tensor1 / tensor2.", add_combined<Scalar::div>)
#define COMBINED(id, name, text, rule)                                                                              \
  static constexpr Op op_##id{{.schema = name "(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor", \
                               .doc = text, .expand = rule, .forms = Forms::both, .sample = samples}};
EACH_COMBINED(COMBINED)

// Exact at weight 0 and 1.
static Vals lerp_rule(const Args& a) {
  const Val all[] = {a[0], a[1]};
  const DType d = result_dtype(all);
  if (a.raw(2).kind == ArgKind::value && a[2].dtype() != d && a[2].rank() > 0)
    a.error("the operands have different dtypes", cat(d, " and ", a[2].dtype()), "one dtype");
  Dims shape = broadcast_shapes(a.name(), a[0].shape(), a[1].shape());
  shape = broadcast_shapes(a.name(), shape, a[2].shape());
  auto fit = [&](Val v) { return broadcast_to(cast(v, compute_dtype(d)), shape, a.name()); };
  const Val start = fit(a[0]), end = fit(a[1]), w = fit(a[2]), difference = end - start;
  const Val size = abs_of(w), near_start = lt(size, constant_like(size, 0.5));
  return {cast(select(near_start, start + w * difference, end - difference * (1.0 - w)), d)};
}
#define EACH_LERP(X) X(lerp, "lerp.Tensor", "Tensor") X(lerp_number, "lerp.Scalar", "Scalar")
#define LERP(id, name, kind)                                                                            \
  static constexpr Op op_##id{{.schema = name "(Tensor self, Tensor end, " kind " weight) -> Tensor",   \
                               .doc = "self + weight * (end - self).", .expand = lerp_rule, .forms = Forms::both, .sample = samples}};
EACH_LERP(LERP)

// --- where

static Vals where_rule(const Args& a) {
  if (!is_bool(a[0].dtype()) && a[0].dtype() != DType::u8)
    a.error("the condition is not bool", cat(a[0].dtype()), "bool", "compare it with 0");
  return {where(a[0], a[1], a[2])};
}
#define EACH_WHERE(X)                                                  \
  X(where_self, "where.self", "Tensor self", "Tensor other")           \
  X(where_of_number, "where.ScalarSelf", "Scalar self", "Tensor other") \
  X(where_number, "where.ScalarOther", "Tensor self", "Scalar other")  \
  X(where_numbers, "where.Scalar", "Scalar self", "Scalar other")
#define WHERE(id, name, self, other)                                                               \
  static constexpr Op op_##id{{.schema = name "(Tensor condition, " self ", " other ") -> Tensor", \
                               .doc = "self where condition, other elsewhere.", .expand = where_rule, .sample = samples}};
EACH_WHERE(WHERE)

// --- powers and functions of two numbers

static Val power(Pair p) {
  const DType d = p.a.dtype();
  if (is_float(d) || is_complex(d)) return map(Scalar::pow, p.a, p.b);
  // Integers by repeated squaring: the exponent has as many bits as there are.
  Val base = p.a, left = p.b, r = constant_like(p.a, 1);
  const Val one = constant_like(p.a, 1), zero = constant_like(p.a, 0);
  // Negative exponents: 1, or a sign of an odd power, or 0.
  const Val odd = map(Scalar::ne, map(Scalar::band, left, one), zero), minus_one = constant_like(p.a, -1);
  const Val reciprocal = select(eq(base, one), one, select(eq(base, minus_one), select(odd, minus_one, one), zero));
  for (int64_t k = 0; k < std::min<int64_t>(bits_of(d), 6); ++k) {  // an exponent of 64 or more overflows but for 0 and +-1
    r = select(map(Scalar::ne, map(Scalar::band, left, one), zero), r * base, r);
    base = base * base;
    left = map(Scalar::shr, left, one);
  }
  const Val huge = lt(zero, left);
  const Val wrapped = select(eq(p.a, one), one, select(eq(p.a, minus_one), select(odd, minus_one, one), zero));
  r = select(huge, wrapped, r);
  return is_signed_int(d) ? select(lt(p.b, zero), reciprocal, r) : r;
}
static Vals pow_rule(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  if (is_bool(p.a.dtype())) a.error("powers of bool tensors are not defined", "bool", "a number");
  return {power(p)};
}
// Small exponents that are known become products and roots, which are exact where pow need not be.
static Vals pow_number_rule(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1]);
  if (!a.is_static_number(1)) return {power(p)};
  const double e = a.f(1);
  if (is_bool(p.a.dtype())) a.error("powers of bool tensors are not defined", "bool", "a number");
  if (is_int(p.a.dtype())) {
    if (e < 0) a.error("an integer tensor has no negative powers", cat(e), "an exponent of at least 0", "make the tensor floating");
    return {e == 2 ? p.a * p.a : power(p)};
  }
  const Val x = p.a;
  if (e == 1) return {copy(x)};
  if (e == 2) return {x * x};
  if (e == 3) return {round_like(wide(x) * wide(x) * wide(x), x)};
  if (e == 0.5) return {map(Scalar::sqrt, x)};
  if (e == -0.5) return {map(Scalar::rsqrt, x)};
  if (e == -1) return {1.0 / x};
  return {map(Scalar::pow, p.a, p.b)};
}
#define POWER(id, name, self, other, rule, ...) \
  static constexpr Op op_##id{{.schema = name "(" self ", " other ") -> Tensor", .doc = "self to the power exponent.", .expand = rule, __VA_ARGS__, .sample = samples}};
POWER(pow, "pow.Tensor_Tensor", "Tensor self", "Tensor exponent", pow_rule, .forms = Forms::both)
POWER(pow_number, "pow.Tensor_Scalar", "Tensor self", "Scalar exponent", pow_number_rule, .forms = Forms::both, .static_args = 2)
POWER(pow_of_number, "pow.Scalar", "Scalar self", "Tensor exponent", pow_rule, .forms = Forms::out)
static Vals float_power_rule(const Args& a) {
  const Dims shape = broadcast_shapes(a.name(), a[0].shape(), a[1].shape());
  const DType d = is_complex(a[0].dtype()) || is_complex(a[1].dtype()) ? DType::c128 : DType::f64;
  auto fit = [&](Val v) { return broadcast_to(cast(v, d), shape, a.name()); };
  return {map(Scalar::pow, fit(a[0]), fit(a[1]))};
}
POWER(float_power, "float_power.Tensor_Tensor", "Tensor self", "Tensor exponent", float_power_rule, .forms = Forms::both)
POWER(float_power_number, "float_power.Tensor_Scalar", "Tensor self", "Scalar exponent", float_power_rule, .forms = Forms::both)
POWER(float_power_of_number, "float_power.Scalar", "Scalar self", "Tensor exponent", float_power_rule, .forms = Forms::out)

template <Scalar s>
static Vals float_pair(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1], true);
  return {map(s, p.a, p.b)};
}
static Vals copysign_rule(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1], true);
  const Val size = map(Scalar::abs, p.a);
  return {select(sign_bit(p.b), -size, size)};
}
static Vals heaviside_rule(const Args& a) {
  if (a[0].dtype() != a[1].dtype())
    a.error("the operands have different dtypes", cat(a[0].dtype(), " and ", a[1].dtype()), "one dtype");
  const Pair p = together(a.name(), a[0], a[1]);
  const Val zero = constant_like(p.a, 0);
  return {stop_gradient(select(eq(p.a, zero), p.b, cast(lt(zero, p.a), p.a.dtype())))};
}
static Vals ldexp_rule(const Args& a) {
  const Val e = cast(a[1], to_floating(a[1].dtype()));
  return {a[0] * map(Scalar::exp2, e)};
}
// log(exp a + exp b) without overflow; at equal infinities the sum is that infinity.
template <Scalar exponential, bool base_two>
static Vals log_add_exp(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1], true), w = widened(p);
  if (is_complex(w.a.dtype())) {  // the one with the larger real part goes first
    const Val swap = map(Scalar::lt, real_part(w.a), real_part(w.b));
    const Val big = select(swap, w.b, w.a), small = select(swap, w.a, w.b);
    Val tail = map(Scalar::log, map(exponential, small - big) + 1.0);
    if (base_two) tail = tail * (1 / M_LN2);
    return {big + tail};
  }
  const Val same_infinity = both_of(eq(w.a, w.b), eq(map(Scalar::abs, w.a), constant_like(w.a, INFINITY)));
  const Val safe = select(same_infinity, constant_like(w.a, 0), w.a);
  const Val other = select(same_infinity, constant_like(w.b, 0), w.b);
  Val tail = map(Scalar::log1p, map(exponential, -map(Scalar::abs, safe - other)));
  if (base_two) tail = tail * (1 / M_LN2);
  return {round_like(select(same_infinity, w.a, map(Scalar::max, safe, other) + tail), p.a)};
}
// x * f(y), 0 where x is 0 and f(y) is not finite, but NaN where y is.
template <Scalar f>
static Vals x_log_y(const Args& a) {
  const Pair p = together(a.name(), a[0], a[1], true), w = widened(p);
  const Val lowest = constant_like(w.b, f == Scalar::log1p ? -1 : 0);
  const Val outside = either(le(w.b, lowest), eq(w.b, constant_like(w.b, INFINITY)));
  const Val dead = both_of(is_zero(w.a), outside);
  const Val y = select(dead, constant_like(w.b, 1), w.b);
  return {round_like(select(dead, constant_like(w.a, 0), w.a * map(f, y)), p.a)};
}
#define EACH_FUNCTION(X)                                                                                                \
  X(atan2, "atan2", "The angle of the point (other, self).", float_pair<Scalar::atan2>, .forms = Forms::both)           \
  X(arctan2, "arctan2", "atan2.", float_pair<Scalar::atan2>, .forms = Forms::both)                                      \
  X(hypot, "hypot", "sqrt(self^2 + other^2) without overflow.", float_pair<Scalar::hypot>, .forms = Forms::both)        \
  X(nextafter, "nextafter", "The next number from self towards other.", float_pair<Scalar::nextafter>, .forms = Forms::both) \
  X(logaddexp, "logaddexp", "log(exp(self) + exp(other)).", (log_add_exp<Scalar::exp, false>), .forms = Forms::out)     \
  X(logaddexp2, "logaddexp2", "log2(2^self + 2^other).", (log_add_exp<Scalar::exp2, true>), .forms = Forms::out)        \
  X(special_xlog1py, "special_xlog1py", "self * log1p(other), 0 where self is 0.", x_log_y<Scalar::log1p>, .forms = Forms::out) \
  X(special_xlogy, "special_xlogy", "xlogy.", x_log_y<Scalar::log>, .forms = Forms::out)                                \
  X(xlogy, "xlogy.Tensor", "self * log(other), 0 where self is 0.", x_log_y<Scalar::log>, .forms = Forms::both)         \
  X(ldexp, "ldexp.Tensor", "self * 2^other.", ldexp_rule, .forms = Forms::both)                                         \
  X(copysign, "copysign.Tensor", "|self| with the sign of other.", copysign_rule, .forms = Forms::both)
EACH_FUNCTION(TENSORS)
#define EACH_NUMBER_FUNCTION(X)                                                                                  \
  X(copysign_number, "copysign.Scalar(Tensor self, Scalar other)", copysign_rule, Forms::both)                   \
  X(xlogy_number, "xlogy.Scalar_Other(Tensor self, Scalar other)", x_log_y<Scalar::log>, Forms::both)            \
  X(xlogy_of_number, "xlogy.Scalar_Self(Scalar self, Tensor other)", x_log_y<Scalar::log>, Forms::out)           \
  X(special_xlogy_number, "special_xlogy.other_scalar(Tensor self, Scalar other)", x_log_y<Scalar::log>, Forms::out)   \
  X(special_xlogy_of_number, "special_xlogy.self_scalar(Scalar self, Tensor other)", x_log_y<Scalar::log>, Forms::out) \
  X(xlog1py_number, "special_xlog1py.other_scalar(Tensor self, Scalar other)", x_log_y<Scalar::log1p>, Forms::out)     \
  X(xlog1py_of_number, "special_xlog1py.self_scalar(Scalar self, Tensor other)", x_log_y<Scalar::log1p>, Forms::out)
#define NUMBER_FUNCTION(id, text, rule, which) \
  static constexpr Op op_##id{{.schema = text " -> Tensor", .doc = "The form with a number.", .expand = rule, .forms = which, .sample = samples}};
EACH_NUMBER_FUNCTION(NUMBER_FUNCTION)
static constexpr Op op_heaviside{{
    .schema = "heaviside(Tensor self, Tensor values) -> Tensor",
    .doc = "0 below 0, values at 0, 1 above.",
    .expand = heaviside_rule,
    .forms = Forms::both,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("div.Tensor_mode divide.Tensor_mode", {"[2,3], [3]:1..4, rounding_mode='floor'", "[2,3], [2,3]:1..4, rounding_mode='trunc'", "[4], [4]:1..4, rounding_mode=None"})
      .of("div.Scalar_mode divide.Scalar_mode", {"[2,3], 2, rounding_mode='floor'", "[2,3], 3, rounding_mode='trunc'", "[4], 1.5, rounding_mode=None"})
      .refuses("div.Tensor_mode divide.Tensor_mode", {"[2,3], [2,3], rounding_mode='round'", "[2,3], [4], rounding_mode='floor'"})
      .refuses("div.Scalar_mode divide.Scalar_mode", {"[2,3], 2, rounding_mode='round'"})
      .of("remainder.Tensor fmod.Tensor floor_divide", {"[2,3]:-6..6, [2,3]:1..4", "[2,3]:-6..6, [3]:-4..-1", "[4,1], [3]:1..2"})
      .within("divide.Tensor true_divide.Tensor addcdiv", "0.5..3")
      .of("remainder.Scalar fmod.Scalar floor_divide.Scalar", {"[2,3]:-6..6, 2", "[4], -1.5"})
      .of("remainder.Scalar_Tensor", {"7, [2,3]:1..4", "5, [4]:-4..-1"})
      .of("clamp clip", {"[2,3], -1, 1", "[4], None, 0.5", "[4], min=0"})
      .refuses("clamp clip", {"[2,3]"})
      .of("clamp.Tensor clip.Tensor", {"[2,3], [3]:-2..0, [2,1]:0..2", "[4], None, []", "[4], [4]"})
      .refuses("clamp.Tensor clip.Tensor", {"[2,3]", "[2,3], [4]"})
      .of("bitwise_left_shift.Tensor bitwise_right_shift.Tensor __lshift__.Tensor __rshift__.Tensor", {"[2,3], [3]:0..3", "[4], [4]:0..3"})
      .of("bitwise_left_shift.Tensor_Scalar bitwise_right_shift.Tensor_Scalar __lshift__.Scalar __rshift__.Scalar", {"[2,3], 2", "[4], 0"})
      .of("bitwise_left_shift.Scalar_Tensor bitwise_right_shift.Scalar_Tensor", {"5, [2,3]:0..3"})
      .of("pow.Tensor_Tensor float_power.Tensor_Tensor", {"[2,3]:0.3..3, [3]:-2..2", "[4]:1..3, [4]:0..3", "[2,1]:1..2, [3]:0..2"})
      .of("pow.Tensor_Scalar float_power.Tensor_Scalar", {"[2,3]:0.3..3, 2.5", "[4], 2", "[4]:1..3, 3", "[2,3]:0.3..3, 0.5"})
      .of("pow.Scalar float_power.Scalar", {"2, [2,3]:0..3", "1.5, [4]"})
      .of("xlogy.Tensor special_xlogy", {"[2,3], [3]:0.2..4", "[4], [4]:0.2..4"}).of("special_xlog1py", {"[2,3], [3]:-0.8..3", "[4], [4]:0..4"})
      .of("xlogy.Scalar_Self special_xlogy.self_scalar special_xlog1py.self_scalar", {"2, [2,3]:0.2..4", "0, [4]:0.2..4"})
      .of("ldexp.Tensor", {"[2,3], [3]:-3..3", "[4], i32[4]:-2..4"})
      .of("isclose", {"[2,3], [3]", "[4]=1|2|nan|inf, [4]=1|2.5|nan|inf, 0.1, 0.2, True", "[5]:0..1, [5]:0..1, 0.5"})
      .refuses("isclose", {"[2,3], [2,3], -1"})
      .of("where.self", {"bool[2,3], [2,3], [3]", "bool[3,1], [2], []", "bool[], [4], [4]"})
      .of("where.ScalarSelf", {"bool[2,3], 1.5, [3]"}).of("where.ScalarOther", {"bool[2,3], [3], 2"}).of("where.Scalar", {"bool[2,3], 1.5, 2"})
      .refuses("where.self", {"bool[2,3], [4], [3]", "[2,3], [2,3], [2,3]"})
      .of("lerp.Tensor", {"[2,3], [2,3], [3]:0..1", "[4], [4], []:0..1"}).of("lerp.Scalar", {"[2,3], [3], 0.3", "[4], [4], 1.5"})
      .of("heaviside", {"[2,3], [3]", "[4]=0|-1|2|0, [4]"})
      .no_gradients("nextafter floor_divide floor_divide.Scalar ldexp.Tensor div.Tensor_mode div.Scalar_mode divide.Tensor_mode divide.Scalar_mode heaviside");
}

static const Op* const binary_ops[] = {
    EACH_COMPARISON(LIST_TWO) &op_isclose, EACH_LOGICAL(LIST_ONE) EACH_BITS(LIST_TWO) &op_left_shift, &op_left_shift_number,
    &op_left_shift_of_number, &op_right_shift, &op_right_shift_number, &op_right_shift_of_number, &op_bitwise_and_of_number,
    &op_bitwise_or_of_number, &op_bitwise_xor_of_number, EACH_EXTREME(LIST_ONE) EACH_CLAMP(LIST_ONE) EACH_DIVISION(LIST_TWO)
    &op_div_mode, &op_div_mode_number, &op_divide_mode, &op_divide_mode_number, &op_floor_divide, &op_floor_divide_number,
    &op_remainder_of_number, &op_multiply, &op_multiply_number, &op_subtract, &op_subtract_number, &op_rsub, &op_rsub_number,
    EACH_COMBINED(LIST_ONE) EACH_LERP(LIST_ONE) EACH_WHERE(LIST_ONE) &op_pow, &op_pow_number, &op_pow_of_number, &op_float_power,
    &op_float_power_number, &op_float_power_of_number, EACH_FUNCTION(LIST_ONE) EACH_NUMBER_FUNCTION(LIST_ONE) &op_heaviside};
OpFamily binary_family() { return binary_ops; }

}  // namespace phlox
