// softmax and log_softmax: nodes with gradients from their results, each one row kernel forward and backward.
#include "ops/composite.h"
#include "ops/rows.h"

namespace phlox {

static void samples(SampleBuilder& s);

Ints row_dims(const Args& a, int arg, int rank) {
  const int d = a.dim(arg, rank);
  return rank == 0 ? Ints{} : Ints{d};
}

static Val row_max(Val x, const Ints& dims) { return stop_gradient(reduce(x, dims, "max", true)); }

Val softmax_rows(Val x, const Ints& dims) {
  const Val e = exp_val(x - row_max(x, dims)), s = sum(e, dims, true);
  return e * (like(s, 1) / s);  // a division a row: one an element costs as much as all the rest
}
// Rows of nothing but -inf become 0 instead of NaN.
Val safe_softmax_rows(Val x, const Ints& dims) {
  const Val m = row_max(x, dims), none = equal(m, like(m, -__builtin_inf()));
  const Val e = exp_val(x - where(none, like(m, 0), m)), s = sum(e, dims, true);
  return e / where(none, like(s, 1), s);
}
Val log_softmax_rows(Val x, const Ints& dims) {
  const Val z = x - row_max(x, dims);
  return z - log_val(sum(exp_val(z), dims, true));
}
Val logsumexp_rows(Val x, const Ints& dims) {
  const Val m = row_max(x, dims);
  // An infinite maximum would give inf - inf.
  const Val base = where(equal(abs_val(m), like(m, __builtin_inf())), like(m, 0), m);
  return log_val(sum(exp_val(x - base), dims, true)) + base;
}

static Val softmax_gradient(Val g, Val y, const Ints& dims) {
  const Val gw = widen(g), yw = widen(y);
  const Val gy = gw * yw;
  return cast_like(gy - yw * sum(gy, dims, true), g);
}
static Val log_softmax_gradient(Val g, Val y, const Ints& dims) {
  const Val gw = widen(g);
  return cast_like(gw - exp_val(widen(y)) * sum(gw, dims, true), g);
}

using Rows = Val (*)(Val, const Ints&);
template <Rows rows>
static Vals rows_of(const Args& a) {
  require_float(a, a[0], "self");
  const Val x = widen(a[0]), y = rows(x, row_dims(a, 1, x.rank()));
  return {a.op().schema.params.size() > 2 && a.b(2) ? y : cast_like(y, a[0])};
}
template <Val (*gradient)(Val, Val, const Ints&)>
static void rows_vjp(Vjp& v) {
  v.set(0, cast_like(gradient(v.grad(), v.out(), row_dims(v.args(), 1, v.in(0).rank())), v.in(0)));
}

static constexpr Op op_softmax_node{{
    .schema = "_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
    .doc = "exp(self) along dim, scaled to sum 1; half_to_float keeps the f32 result of a 16-bit input.",
    .type = type_by_expand,
    .expand = rows_of<softmax_rows>,
    .vjp = rows_vjp<softmax_gradient>,
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_log_softmax_node{{
    .schema = "_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
    .doc = "self - logsumexp(self) along dim; half_to_float keeps the f32 result of a 16-bit input.",
    .type = type_by_expand,
    .expand = rows_of<log_softmax_rows>,
    .vjp = rows_vjp<log_softmax_gradient>,
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_safe_softmax_node{{
    .schema = "prim::safe_softmax(Tensor self, int dim) -> Tensor",
    .doc = "softmax in which rows of nothing but -inf are 0.",
    .type = type_by_expand,
    .expand = rows_of<safe_softmax_rows>,
    .vjp = rows_vjp<softmax_gradient>,
    .sample = samples,
}};

static Val converted(const Args& a, int dtype) {
  if (const auto d = a.dtype(dtype)) return cast(a[0], *d);
  return a[0];
}
static constexpr Op op_softmax{{
    .schema = "softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .doc = "exp(self) along dim, scaled to sum 1; dtype casts self first.",
    .expand = [](const Args& a) { return call(a.builder(), "_softmax", {arg_of(converted(a, 2)), a.raw(1), Arg::of_bool(false)}); },
    .forms = Forms::out,
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_log_softmax{{
    .schema = "log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .doc = "self - logsumexp(self) along dim; dtype casts self first.",
    .expand = [](const Args& a) { return call(a.builder(), "_log_softmax", {arg_of(converted(a, 2)), a.raw(1), Arg::of_bool(false)}); },
    .forms = Forms::out,
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_special_softmax{{
    .schema = "special_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .doc = "Same as softmax.",
    .expand = [](const Args& a) { return call(a.builder(), "_softmax", {arg_of(converted(a, 2)), a.raw(1), Arg::of_bool(false)}); },
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_special_log_softmax{{
    .schema = "special_log_softmax(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
    .doc = "Same as log_softmax.",
    .expand = [](const Args& a) { return call(a.builder(), "_log_softmax", {arg_of(converted(a, 2)), a.raw(1), Arg::of_bool(false)}); },
    .autocast = Autocast::f32,
    .sample = samples,
}};
static constexpr Op op_safe_softmax{{
    .schema = "_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    .doc = "softmax in which rows of nothing but -inf are 0.",
    .expand = [](const Args& a) { return call(a.builder(), "prim::safe_softmax", {arg_of(converted(a, 2)), a.raw(1)}); },
    .sample = samples,
}};
static constexpr Op op_softmax_backward{{
    .schema = "_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor",
    .doc = "The gradient of softmax from its result.",
    .expand = [](const Args& a) -> Vals {
      return {cast(softmax_gradient(a[0], a[1], row_dims(a, 2, a[0].rank())), *a.dtype(3))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_log_softmax_backward{{
    .schema = "_log_softmax_backward_data(Tensor grad_output, Tensor output, int dim, ScalarType input_dtype) -> Tensor",
    .doc = "The gradient of log_softmax from its result.",
    .expand = [](const Args& a) -> Vals {
      return {cast(log_softmax_gradient(a[0], a[1], row_dims(a, 2, a[0].rank())), *a.dtype(3))};
    },
    .forms = Forms::out,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("_softmax _log_softmax", {"[2,3], 1, False", "[2,3,4], 0, False"}).of("softmax.int log_softmax.int special_softmax _safe_softmax", {"[2,3], 1", "[2,3,4], 0", "[], 0", "[4], -1, float64"})
      .of("special_log_softmax", {"[2,3], 1", "[4], -1, dtype=float64"}).of("prim::safe_softmax", {"[2,3], 1"})
      .of("_softmax_backward_data _log_softmax_backward_data", {"f32[2,3], f32[2,3], 1, float32"})
      .refuses("_softmax _log_softmax", {"[2,3], 2, False"}).refuses("softmax.int log_softmax.int special_softmax _safe_softmax", {"[2,3], 2", "[2,3], -3"}).refuses("special_log_softmax", {"[2,3], 2"});
}

static const Op* const softmax_ops[] = {
    &op_softmax_node, &op_log_softmax_node, &op_safe_softmax_node, &op_softmax, &op_log_softmax, &op_special_softmax,
    &op_special_log_softmax, &op_safe_softmax, &op_softmax_backward, &op_log_softmax_backward};
OpFamily softmax_family() { return softmax_ops; }

}  // namespace phlox
