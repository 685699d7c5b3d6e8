// Activation functions. Derivatives at kinks are ATen's: which side of a `where` a point falls on decides.
#include <cmath>

#include "ops/complex.h"
#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

static Val number(Val x, double v) { return like(x, v); }
static Val zero(Val x) { return like(x, 0); }

static constexpr Op op_hardtanh{{
    .schema = "hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
    .doc = "self, limited to [min_val, max_val]; the gradient at the limits is 0.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], lo = cast_like(a[1], x), hi = cast_like(a[2], x);
      return {where(x <= lo, lo, where(x >= hi, hi, x))};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_relu6{{
    .schema = "relu6(Tensor self) -> Tensor",
    .doc = "self, limited to [0, 6].",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], lo = zero(x), hi = number(x, 6);
      return {where(x <= lo, lo, where(x >= hi, hi, x))};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_hardswish{{
    .schema = "hardswish(Tensor self) -> Tensor",
    .doc = "self * clamp(self + 3, 0, 6) / 6.",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      const Val x = a[0];
      return {where(x <= number(x, -3), x * zero(x), where(x <= number(x, 3), x * (x + 3.0) / 6.0, x))};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_hardsigmoid{{
    .schema = "hardsigmoid(Tensor self) -> Tensor",
    .doc = "clamp(self + 3, 0, 6) / 6.",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      const Val x = a[0];
      return {where(x <= number(x, -3), zero(x), where(x >= number(x, 3), number(x, 1), (x + 3.0) / 6.0))};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_leaky_relu{{
    .schema = "leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor",
    .doc = "self where positive, else negative_slope * self.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      return {where(x > zero(x), x, x * a[1])};
    },
    .forms = Forms::both,
    .sample = samples,
}};

// scale * (x where positive, else alpha * (exp(x * input_scale) - 1))
static Val elu(Val x, Val alpha, Val scale, Val input_scale) {
  const Val negative = map(Scalar::expm1, where(x > zero(x), zero(x), x * input_scale)) * alpha * scale;
  return where(x <= zero(x), negative, x * scale);
}
static constexpr Op op_elu{{
    .schema = "elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor",
    .doc = "scale * (self where positive, else alpha * (exp(input_scale * self) - 1)).",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      return {elu(a[0], cast_like(a[1], a[0]), cast_like(a[2], a[0]), cast_like(a[3], a[0]))};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_celu{{
    .schema = "celu(Tensor self, Scalar alpha=1.0) -> Tensor",
    .doc = "self where positive, else alpha * (exp(self / alpha) - 1).",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], alpha = cast_like(a[1], x);
      require_float(a, x, "self");
      return {elu(x, alpha, number(x, 1), number(x, 1) / alpha)};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_selu{{
    .schema = "selu(Tensor self) -> Tensor",
    .doc = "elu with the scale 1.0507... and alpha 1.6732... of self-normalising networks.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "self");
      return {elu(x, number(x, 1.6732632423543772848170429916717), number(x, 1.0507009873554804934193349852946), number(x, 1))};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};

// The derivative is one value made of x alone, so that a compiled step may store it instead of its parts.
static void gelu_gradient(Vjp& v) {
  const Val x = v.in(0);
  if (v.args().s(1) == "none") {
    const Val density = exp_val(x * x * -0.5) * (1 / std::sqrt(2 * M_PI));
    return v.set(0, v.grad() * (map(Scalar::normal_cdf, x) + x * density));
  }
  const double c = std::sqrt(2 / M_PI);
  const Val t = map(Scalar::tanh, (x + x * x * x * 0.044715) * c);
  const Val slope = (x * x * (3 * 0.044715) + 1.0) * c;
  v.set(0, v.grad() * conj((t + 1.0) * 0.5 + x * 0.5 * (1.0 - t * t) * slope));
}
static constexpr Op op_gelu{{
    .schema = "gelu(Tensor self, *, str approximate='none') -> Tensor",
    .doc = "self * Phi(self), Phi the normal distribution; approximate='tanh' uses the tanh formula.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "self");
      if (a.s(1) == "none") return {x * map(Scalar::normal_cdf, x)};
      require(a, a.s(1) == "tanh", "unknown approximation", std::string(a.s(1)), "'none' or 'tanh'");
      const Val inner = (x + x * x * x * 0.044715) * std::sqrt(2 / M_PI);
      return {x * 0.5 * (map(Scalar::tanh, inner) + 1.0)};
    },
    .vjp = gelu_gradient,
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_silu{{
    .schema = "silu(Tensor self) -> Tensor",
    .doc = "self * sigmoid(self).",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      return {a[0] * map(Scalar::sigmoid, a[0])};
    },
    .forms = Forms::both,
    .sample = samples,
}};

// log(1 + exp(x)), exact for large x, with a finite gradient.
static Val log1p_exp(Val x) {
  const Val big = x > number(x, 20);
  return where(big, x, map(Scalar::log1p, exp_val(where(big, zero(x), x))));
}
static constexpr Op op_mish{{
    .schema = "mish(Tensor self) -> Tensor",
    .doc = "self * tanh(softplus(self)).",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      return {a[0] * map(Scalar::tanh, log1p_exp(a[0]))};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_softplus{{
    .schema = "softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor",
    .doc = "log(1 + exp(beta * self)) / beta; self where beta * self exceeds threshold.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "self");
      const Val beta = cast_like(a[1], x), z = x * beta, big = z > cast_like(a[2], x);
      return {where(big, x, map(Scalar::log1p, exp_val(where(big, zero(x), z))) / beta)};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_log_sigmoid{{
    .schema = "log_sigmoid(Tensor self) -> Tensor",
    .doc = "log(sigmoid(self)), without overflow.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "self");
      return {minimum(x, zero(x)) - map(Scalar::log1p, exp_val(-abs_val(x)))};
    },
    .vjp = [](Vjp& v) { v.set(0, v.grad() * map(Scalar::sigmoid, -v.in(0))); },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_softshrink{{
    .schema = "softshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    .doc = "self moved towards 0 by lambd, 0 within lambd of it.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], l = cast_like(a[1], x);
      require_float(a, x, "self");
      return {where(x > l, x - l, where(x < -l, x + l, x * zero(x)))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_hardshrink{{
    .schema = "hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    .doc = "self, but 0 within lambd of 0.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], l = cast_like(a[1], x);
      require_float(a, x, "self");
      return {where((x >= -l) & (x <= l), zero(x), x)};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_threshold{{
    .schema = "threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor",
    .doc = "self where above threshold, else value.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      return {where(x <= cast_like(a[1], x), cast_like(a[2], x), x)};
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_glu{{
    .schema = "glu(Tensor self, int dim=-1) -> Tensor",
    .doc = "The first half along dim times the sigmoid of the second.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_float(a, x, "self");
      require(a, x.rank() > 0, "a tensor without dimensions has no halves");
      const int d = a.dim(1, x.rank());
      const Dim half = floordiv(x.shape()[d], 2);
      if (!dim_eq(mod(x.shape()[d], 2), 0)) a.error("the size along dim must be even", shape_of(x), "an even size");
      return {slice(x, d, 0, half) * map(Scalar::sigmoid, slice(x, d, half, half))};
    },
    .forms = Forms::out,
    .sample = samples,
}};

static Val prelu(const Args& a, Val x, Val w) {
  require(a, w.rank() <= 1, "weight must be a vector", shape_of(w));
  if (w.dtype() != x.dtype()) a.error("weight has another dtype", cat(w.dtype()), cat(x.dtype()), "cast it");
  Val slope = w;
  if (w.rank() == 1 && !w.size(0).is(1)) {
    const Dim channels = x.rank() >= 2 ? x.size(1) : Dim(1);
    if (!dim_eq(w.size(0), channels)) a.error("weight needs one number, or one per channel", shape_of(w), cat("[1] or [", channels, "]"));
    slope = along(w, x.rank(), 1);
  } else {
    slope = reshape(w, {});
  }
  return where(x > zero(x), x, x * slope);
}
static constexpr Op op_prelu{{
    .schema = "prelu(Tensor self, Tensor weight) -> Tensor",
    .doc = "self where positive, else weight * self; one weight, or one per channel.",
    .expand = [](const Args& a) -> Vals { return {prelu(a, a[0], a[1])}; },
    .sample = samples,
}};
static constexpr Op op_prelu_kernel{{
    .schema = "_prelu_kernel(Tensor self, Tensor weight) -> Tensor",
    .doc = "self where positive, else weight * self; weight broadcasts.",
    .expand = [](const Args& a) -> Vals { return {where(a[0] > zero(a[0]), a[0], a[0] * a[1])}; },
    .sample = samples,
}};
static constexpr Op op_rrelu{{
    .schema = "rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.3333333333333333, bool training=False, Generator? generator=None) -> Tensor",
    .doc = "leaky_relu with a slope drawn uniformly from [lower, upper] in training, and their mean otherwise.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], lo = cast_like(a[1], x), hi = cast_like(a[2], x);
      require_float(a, x, "self");
      Val slope = (lo + hi) / 2.0;
      if (a.b(3)) slope = lo + (hi - lo) * call(a.builder(), "prim::uniform", {arg_of(x)})[0];
      return {where(x > zero(x), x, x * slope)};
    },
    .forms = Forms::in_place,
    .effects = Effects::random,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("hardtanh", {"[2,3]", "[4], -0.5, 2"}).of("gelu", {"[2,3]", "[4], approximate='tanh'"}).refuses("gelu", {"[2,3], approximate='best'"}).of("softplus", {"[2,3]", "[4], 2, 1"}).of("threshold", {"[2,3], 0.5, -1", "[4], 0, 2"})
      .of("glu", {"[2,4]", "[4,3], 0"}).refuses("glu", {"[2,3]", "[]", "[2,4], 2"}).of("prelu", {"[2,3], [1]", "[2,3,2], [3]"}).of("_prelu_kernel", {"[2,3], [1,3]"}).refuses("prelu", {"[2,3], [2]", "[2,3], [2,2]"})
      .of("leaky_relu", {"[2,3]", "[4], 0.2"}).of("elu", {"[2,3]", "[4], 2, 1.5, 0.5"});
}

static const Op* const activation_ops[] = {
    &op_hardtanh, &op_relu6, &op_hardswish, &op_hardsigmoid, &op_leaky_relu, &op_elu, &op_celu, &op_selu, &op_gelu, &op_silu,
    &op_mish, &op_softplus, &op_log_sigmoid, &op_softshrink, &op_hardshrink, &op_threshold, &op_glu, &op_prelu, &op_prelu_kernel,
    &op_rrelu};
OpFamily activation_family() { return activation_ops; }

}  // namespace phlox
