// Elementwise arithmetic: add, sub, mul, div and their relatives, with ATen's promotion and broadcasting.
#include "ops/arith.h"

namespace phlox {

static void samples(SampleBuilder& s);

// self + alpha * other. An integer result refuses a fractional alpha, as ATen does.
static Val scaled(const Args& a, Val other, int alpha, DType result) {
  if (a.is_static_number(alpha)) {
    if (a.raw(alpha).kind == ArgKind::real && !is_float(result) && !is_complex(result))
      a.error("for integer tensors alpha must be an integer", cat(a.f(alpha)), "an int");
    if (a.f(alpha) == 1) return other;
  }
  if (is_bool(result)) return binary(a.name(), Scalar::band, other, to_bool(a[alpha]));
  const Val r = other * a[alpha];
  if (other.type().weak) r.g->graph().set_weak(r.id);  // a product of numbers is a number
  return r;
}

static Val add_sub(const Args& a, Scalar op, Val self, Val other) {
  const Val both[] = {self, other};
  const DType d = result_dtype(both);
  if (op == Scalar::sub && is_bool(d))
    a.error("subtraction of bool tensors is not defined", "two bool operands", "numbers", "use logical_xor");
  return binary(a.name(), is_bool(d) ? Scalar::bor : op, self, scaled(a, other, 2, d));
}

static constexpr Op op_add{{
    .schema = "add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
    .doc = "self + alpha * other.",
    .expand = [](const Args& a) -> Vals { return {add_sub(a, Scalar::add, a[0], a[1])}; },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_add_scalar{{
    .schema = "add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
    .doc = "self + alpha * other.",
    .expand = [](const Args& a) -> Vals { return {add_sub(a, Scalar::add, a[0], a[1])}; },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_sub{{
    .schema = "sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
    .doc = "self - alpha * other.",
    .expand = [](const Args& a) -> Vals { return {add_sub(a, Scalar::sub, a[0], a[1])}; },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_sub_scalar{{
    .schema = "sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
    .doc = "self - alpha * other.",
    .expand = [](const Args& a) -> Vals { return {add_sub(a, Scalar::sub, a[0], a[1])}; },
    .forms = Forms::in_place,
    .sample = samples,
}};
static Val times(const Args& a) {
  const Val both[] = {a[0], a[1]};
  return binary(a.name(), is_bool(result_dtype(both)) ? Scalar::band : Scalar::mul, a[0], a[1]);
}
static constexpr Op op_mul{{
    .schema = "mul.Tensor(Tensor self, Tensor other) -> Tensor",
    .doc = "self * other.",
    .expand = [](const Args& a) -> Vals { return {times(a)}; },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_mul_scalar{{
    .schema = "mul.Scalar(Tensor self, Scalar other) -> Tensor",
    .doc = "self * other.",
    .expand = [](const Args& a) -> Vals { return {times(a)}; },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_div{{
    .schema = "div.Tensor(Tensor self, Tensor other) -> Tensor",
    .doc = "self / other; integers are divided as floats.",
    .expand = [](const Args& a) -> Vals { return {a[0] / a[1]}; },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_div_scalar{{
    .schema = "div.Scalar(Tensor self, Scalar other) -> Tensor",
    .doc = "self / other; integers are divided as floats.",
    .expand = [](const Args& a) -> Vals { return {a[0] / a[1]}; },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_neg{{
    .schema = "neg(Tensor self) -> Tensor",
    .doc = "-self.",
    .expand = [](const Args& a) -> Vals {
      if (is_bool(a[0].dtype())) a.error("negation of a bool tensor is not defined", "bool", "a number", "use logical_not");
      return {-a[0]};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_exp{{
    .schema = "exp(Tensor self) -> Tensor",
    .doc = "e to the power self.",
    .expand = [](const Args& a) -> Vals { return {unary_float(Scalar::exp, a[0])}; },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_relu{{
    .schema = "relu(Tensor self) -> Tensor",
    .doc = "max(self, 0). The gradient at 0 is 0.",
    .expand = [](const Args& a) -> Vals {
      if (is_bool(a[0].dtype())) a.error("relu of a bool tensor is not defined", "bool", "a number");
      const Val x = a[0], zero = broadcast_to(like(x, 0), x.shape());
      // NaN passes: it is not below zero.
      return {map(Scalar::select, map(Scalar::le, x, zero), zero, x)};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("div.Tensor", {"[2,3], [3]:0.5..3", "[4,1], [3]:1..3", "[], []:1..2"}).of("add.Tensor sub.Tensor", {"[2,3], [3]", "[4,1], [3], alpha=2", "[], [2]", "[2,3], f64[]"})
      .refuses("add.Tensor sub.Tensor mul.Tensor div.Tensor", {"[2,3], [4]"});
}

static const Op* const arith_ops[] = {&op_add, &op_add_scalar, &op_sub, &op_sub_scalar, &op_mul, &op_mul_scalar,
                                      &op_div, &op_div_scalar, &op_neg, &op_exp, &op_relu};
OpFamily arith_family() { return arith_ops; }

}  // namespace phlox
