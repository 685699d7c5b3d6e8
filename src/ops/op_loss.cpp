// Losses. nll_loss keeps a gradient of its own: written as a comparison of positions with the target it fuses with the
// gradient of log_softmax into one row kernel, where a scatter would not.
#include <cmath>

#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

static int class_dim(Val x) { return x.rank() == 1 ? 0 : 1; }

static void check_target(const Args& a, Val x, Val target, Val weight) {
  require_float(a, x, "self");
  require(a, x.rank() >= 1, "input needs a class dimension", shape_of(x));
  Dims want = x.shape();
  want.erase(size_t(class_dim(x)));
  bool fits = target.rank() == int(want.size());
  for (size_t d = 0; fits && d < want.size(); ++d) fits = dim_eq(target.shape()[d], want[d]);
  require(a, fits, "target does not fit input", shape_of(target), cat(shape_text(want), " class numbers"));
  if (!is_int(target.dtype())) a.error("class numbers must be integers", cat(target.dtype()), "int64", "cast target with .to(int64)");
  if (weight && (weight.rank() != 1 || !dim_eq(weight.size(0), x.size(class_dim(x)))))
    a.error("weight needs one number per class", shape_of(weight), cat("[", x.size(class_dim(x)), "]"));
}

namespace {
struct Picked {
  Val target;  // i64, 0 where ignored
  Val counts;  // bool: not ignored
  Val weight;  // of each target's class, 0 where ignored; f32 or f64
};
}  // namespace

static Picked pick(Val x, Val target, Val weight, int64_t ignore) {
  const Val t = cast(target, DType::i64), ignored = equal(t, full_int(*x.g, {}, DType::i64, ignore));
  Picked p{where(ignored, full_int(*x.g, {}, DType::i64, 0), t), logical_not(ignored), {}};
  const Val zero = full(*x.g, {}, compute_dtype(x.dtype()), 0);
  if (weight) p.weight = where(ignored, zero, gather(widen(weight), {p.target}, {0}));
  else p.weight = cast(p.counts, compute_dtype(x.dtype()));
  return p;
}

// x at the target's class: one element for each position of target.
static Val at_class(Val x, Val target) {
  std::vector<Val> index;
  int k = 0;
  for (int d = 0; d < x.rank(); ++d) index.push_back(d == class_dim(x) ? target : iota_like(target.shape(), k++, x));
  return gather(x, index, all_dims(x.rank()));
}

// self, target, weight, reduction, ignore_index
static constexpr Op op_nll_loss_forward{{
    .schema = "nll_loss_forward(Tensor self, Tensor target, Tensor? weight, int reduction, SymInt ignore_index) -> (Tensor, Tensor)",
    .doc = "-self at each target's class, weighted; also gives the total weight, by which reduction mean divides.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0];
      require_real(a, x, "self");
      require(a, a.i(3) >= 0 && a.i(3) <= 2, "unknown reduction", cat(a.i(3)), "0 (none), 1 (mean) or 2 (sum)");
      check_target(a, x, a[1], a.optional(2));
      const Picked p = pick(x, a[1], a.optional(2), a.i(4));
      // An ignored element counts as 0 even where the input is infinite.
      const Val picked = widen(at_class(x, p.target));
      const Val loss = where(p.counts, -(picked * p.weight), like(picked, 0));
      const Ints all = all_dims(loss.rank());
      const Val total = sum(p.weight, all);
      if (a.i(3) == 0) return {cast_like(loss, x), like(x, 0)};
      const Val s = sum(loss, all);
      return {cast_like(a.i(3) == 1 ? s / total : s, x), cast_like(total, x)};
    },
    .vjp = [](Vjp& v) {
      if (!v.grad() || !v.needs(0)) return;
      const Args a = v.args();
      const Val x = v.in(0);
      const int c = class_dim(x);
      const Picked p = pick(x, a[1], a.optional(2), a.i(4));
      Val scale = widen(v.grad());
      if (a.i(3) == 1) scale = scale / sum(p.weight, all_dims(p.weight.rank()));
      const Val g = -(p.weight * scale);
      const Val at = equal(iota_like(x.shape(), c, x), expand_at(p.target, c, x.size(c)));
      v.set(0, cast_like(where(at, expand_at(g, c, x.size(c)), like(g, 0)), x));
    },
    .sample = samples,
}};

static Val nll(const Args& a, Val x, Arg target, Arg weight, int64_t reduction, int64_t ignore) {
  return call(a.builder(), "nll_loss_forward", {arg_of(x), target, weight, Arg::of_dim(reduction), Arg::of_dim(ignore)})[0];
}
static Vals nll_of(const Args& a) { return {nll(a, a[0], a.raw(1), a.raw(2), a.i(3), a.i(4))}; }
static constexpr Op op_nll_loss{{
    .schema = "nll_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean, SymInt ignore_index=-100) -> Tensor",
    .doc = "Negative log likelihood: -self at each target's class.",
    .expand = nll_of,
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_nll_loss2d{{
    .schema = "nll_loss2d(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean, SymInt ignore_index=-100) -> Tensor",
    .doc = "nll_loss of images.",
    .expand = nll_of,
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_nll_loss_nd{{
    .schema = "nll_loss_nd(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean, SymInt ignore_index=-100) -> Tensor",
    .doc = "nll_loss in any number of dimensions.",
    .expand = nll_of,
    .sample = samples,
}};

// --- cross entropy: self, target, weight, reduction, ignore_index, label_smoothing

static Val along_classes(Val weight, Val x) { return along(widen(weight), x.rank(), class_dim(x)); }

static Val from_probabilities(const Args& a, Val logp, Val target) {
  const int c = class_dim(logp);
  const double smooth = a.f(5);
  const Val n = count_of(widen(logp), {c});
  Val t = widen(target);
  if (smooth > 0) t = t * (1 - smooth) + like(t, smooth) / n;
  Val loss = -(widen(logp) * t);
  if (a.has(2)) loss = loss * along_classes(a[2], logp);
  const int64_t reduction = a.i(3);
  if (reduction == 0) return cast_like(sum(loss, {c}), logp);
  const Val s = sum(loss, all_dims(loss.rank()));
  const Ints others = other_dims(loss.rank(), {c});
  return cast_like(reduction == 1 ? s / count_of(loss, others) : s, logp);
}

static Val smoothed(const Args& a, Val logp, Val hard) {
  const int c = class_dim(logp);
  const int64_t reduction = a.i(3);
  const double smooth = a.f(5);
  const Picked p = pick(logp, a[1], a.optional(2), a.i(4));
  const Val terms = a.has(2) ? widen(logp) * along_classes(a[2], logp) : widen(logp);
  const Val spread = where(p.counts, -sum(terms, {c}), full(a.builder(), {}, terms.dtype(), 0));
  const Ints all = all_dims(spread.rank());
  const Val total = reduction == 0 ? spread : reduction == 2 ? sum(spread, all) : sum(spread, all) / sum(p.weight, all);
  return cast_like(widen(hard) * (1 - smooth) + total * (like(total, smooth) / count_of(terms, {c})), logp);
}

static constexpr Op op_cross_entropy{{
    .schema = "cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean, SymInt ignore_index=-100, "
              "float label_smoothing=0.0) -> Tensor",
    .doc = "nll_loss of log_softmax(self); target holds class numbers, or probabilities in the shape of self.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], target = a[1];
      require_float(a, x, "self");
      require(a, a.f(5) >= 0 && a.f(5) <= 1, "label_smoothing is out of range", cat(a.f(5)), "0 to 1");
      require(a, a.i(3) >= 0 && a.i(3) <= 2, "unknown reduction", cat(a.i(3)), "0 (none), 1 (mean) or 2 (sum)");
      require(a, x.rank() >= 1, "input needs a class dimension", shape_of(x));
      const Val logp = call(a.builder(), "log_softmax.int", {arg_of(x), Arg::of_dim(class_dim(x))})[0];
      if (is_float(target.dtype())) {
        require(a, target.shape() == x.shape(), "target probabilities must have the shape of the input", shape_of(target), shape_of(x));
        return {from_probabilities(a, logp, target)};
      }
      check_target(a, x, target, a.optional(2));
      const Val hard = nll(a, logp, a.raw(1), a.raw(2), a.i(3), a.i(4));
      return {a.f(5) > 0 ? smoothed(a, logp, hard) : hard};
    },
    .autocast = Autocast::f32,
    .sample = samples,
}};

// --- elementwise losses: self, target, reduction

static Val difference(const Args& a) { return a[0] - a[1]; }

static constexpr Op op_mse_loss{{
    .schema = "mse_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor",
    .doc = "(self - target)^2.",
    .expand = [](const Args& a) -> Vals {
      const Val d = difference(a);
      return {reduce_loss(a, d * d, a.i(2))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_l1_loss{{
    .schema = "l1_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor",
    .doc = "|self - target|.",
    .expand = [](const Args& a) -> Vals { return {reduce_loss(a, abs_val(difference(a)), a.i(2))}; },
    .sample = samples,
}};
static constexpr Op op_smooth_l1_loss{{
    .schema = "smooth_l1_loss(Tensor self, Tensor target, int reduction=Mean, float beta=1.0) -> Tensor",
    .doc = "d^2 / (2 beta) where |d| < beta, else |d| - beta / 2; d = self - target.",
    .expand = [](const Args& a) -> Vals {
      const double beta = a.f(3);
      require(a, beta >= 0, "beta must not be negative", cat(beta));
      const Val d = difference(a), r = abs_val(d);
      if (beta == 0) return {reduce_loss(a, r, a.i(2))};
      return {reduce_loss(a, where(r < like(r, beta), d * d * (0.5 / beta), r - 0.5 * beta), a.i(2))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_huber_loss{{
    .schema = "huber_loss(Tensor self, Tensor target, int reduction=Mean, float delta=1.0) -> Tensor",
    .doc = "d^2 / 2 where |d| <= delta, else delta * (|d| - delta / 2); d = self - target.",
    .expand = [](const Args& a) -> Vals {
      const double delta = a.f(3);
      require(a, delta > 0, "delta must be positive", cat(delta));
      const Val d = difference(a), r = abs_val(d);
      return {reduce_loss(a, where(r <= like(r, delta), d * d * 0.5, (r - 0.5 * delta) * delta), a.i(2))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_soft_margin_loss{{
    .schema = "soft_margin_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor",
    .doc = "log(1 + exp(-target * self)).",
    .expand = [](const Args& a) -> Vals {
      const Val both[] = {a[0], a[1]};
      const DType d = result_dtype(both);
      const Val z = rounded(exp_val(rounded(-(widen(cast(a[0], d)) * widen(cast(a[1], d))), d)), d);  // infinite where d says so
      return {reduce_loss(a, cast(map(Scalar::log1p, z), d), a.i(2))};
    },
    .forms = Forms::out,
    .sample = samples,
}};

// Logarithms not below -100, and a gradient that stays finite at 0 and 1: (p - t) / max(p (1 - p), 1e-12).
static Val limited_log(Val x) { return maximum(log_val(x), like(x, -100)); }
static Val limited_log1m(Val x) { return maximum(map(Scalar::log1p, -x), like(x, -100)); }
static constexpr Op op_bce_terms{{
    .schema = "prim::binary_cross_entropy_terms(Tensor self, Tensor target) -> Tensor",
    .doc = "The terms of binary_cross_entropy, one shape and dtype.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals { return {(a[1] - 1.0) * limited_log1m(a[0]) - a[1] * limited_log(a[0])}; },
    .vjp = [](Vjp& v) {
      const Val p = v.in(0), t = v.in(1), g = v.grad();
      if (v.needs(0)) v.set(0, g * (p - t) / maximum((1.0 - p) * p, like(p, 1e-12)));
      if (v.needs(1)) v.set(1, g * (limited_log1m(p) - limited_log(p)));
    },
    .sample = samples,
}};
static constexpr Op op_binary_cross_entropy{{
    .schema = "binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean) -> Tensor",
    .doc = "-(target log(self) + (1 - target) log(1 - self)), logarithms not below -100.",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      require(a, a[0].shape() == a[1].shape(), "self and target must have one shape", shape_of(a[1]), shape_of(a[0]));
      Val loss = call(a.builder(), "prim::binary_cross_entropy_terms", {a.raw(0), arg_of(cast_like(a[1], a[0]))})[0];
      if (a.has(2)) loss = loss * a[2];
      return {reduce_loss(a, loss, a.i(3))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_bce_with_logits{{
    .schema = "binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, Tensor? pos_weight=None, "
              "int reduction=Mean) -> Tensor",
    .doc = "binary_cross_entropy of sigmoid(self), without overflow; pos_weight scales the positive terms.",
    .expand = [](const Args& a) -> Vals {
      require_float(a, a[0], "self");
      const Val all[] = {a[0], a[1], a.optional(2), a.optional(3)};
      const DType d = result_dtype(all);
      auto r = [&](Val v) { return rounded(v, d); };  // 16-bit values are rounded at every step
      const Val x = widen(a[0]), t = widen(a[1]);
      const Val log_sigmoid = widen(call(a.builder(), "log_sigmoid", {a.raw(0)})[0]);
      // log(1 - sigmoid(x)) = log_sigmoid(x) - x
      const Val weight = r(1.0 - t), rest = r(weight * x);
      Val loss = log_sigmoid;
      if (a.has(3)) loss = r(r(r(r(widen(a[3]) - 1.0) * t) + 1.0) * loss);
      loss = r(rest - loss);
      if (a.has(2)) loss = r(loss * widen(a[2]));
      return {reduce_loss(a, cast(loss, d), a.i(4))};
    },
    .sample = samples,
}};
static constexpr Op op_kl_div{{
    .schema = "kl_div(Tensor self, Tensor target, int reduction=Mean, *, bool log_target=False) -> Tensor",
    .doc = "target * (log(target) - self); log_target: target is given as its logarithm.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], t = a[1];
      if (a.b(3)) return {reduce_loss(a, exp_val(t) * (t - x), a.i(2))};
      // x log x is 0 at 0.
      const Val zero = equal(t, like(t, 0)), safe = where(zero, like(t, 1), t);
      return {reduce_loss(a, t * log_val(safe) - t * x, a.i(2))};
    },
    .sample = samples,
}};
static constexpr Op op_poisson_nll_loss{{
    .schema = "poisson_nll_loss(Tensor input, Tensor target, bool log_input, bool full, float eps, int reduction) -> Tensor",
    .doc = "exp(input) - target * input (log_input), else input - target * log(input + eps); full adds Stirling's term.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], t = a[1];
      Val loss = a.b(2) ? exp_val(x) - t * x : x - t * log_val(x + a.f(4));
      if (a.b(3)) {
        const Val small = t <= like(t, 1), safe = where(small, like(t, 1), t);
        const Val stirling = t * log_val(safe) - t + log_val(safe * (2 * M_PI)) * 0.5;
        loss = loss + where(small, like(t, 0), stirling);
      }
      return {reduce_loss(a, loss, a.i(5))};
    },
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("nll_loss_forward", {"[3,4], i64[3]:0..3, [4]:0.5..1!, 1, -100", "[3,4], i64[3]:0..3, None, 0, 1"}).of("nll_loss nll_loss_nd", {"[3,4], i64[3]:0..3", "[3,4], i64[3]:0..3, [4]:0.5..1!, 2", "[4], i64[]:0..3, None, 0"}).of("nll_loss2d", {"[2,4,3,2], i64[2,3,2]:0..3"})
      .of("cross_entropy_loss", {"[3,4], i64[3]:0..3", "[3,4], [3,4]:0..1, None, 2", "[2,4,3], i64[2,3]:0..3, [4]:0.5..1!, 1, 1, 0.1"}).refuses("nll_loss nll_loss_nd nll_loss2d", {"[3,4], i64[2]:0..3", "[3,4], i64[3]:0..3, [3]", "[3,4], i64[3]:0..3, None, 7"}).refuses("cross_entropy_loss", {"[3,4], i64[2]:0..3", "[3,4], i64[3]:0..3, [3]", "[3,4], i64[3]:0..3, None, 1, -100, 2"})
      .of("mse_loss l1_loss smooth_l1_loss huber_loss soft_margin_loss", {"[2,3], [2,3]", "[4], [4], 0", "[4], [4], 2"}).refuses("mse_loss l1_loss smooth_l1_loss huber_loss soft_margin_loss", {"[2,3], [4]", "[2,3], [2,3], 5"}).refuses("smooth_l1_loss huber_loss", {"[2,3], [2,3], 1, -1"})
      .of("binary_cross_entropy", {"[2,3]:0.1..0.9, [2,3]:0..1", "[4]:0.1..0.9, [4]:0..1, [4]:0.5..1!, 2"}).of("prim::binary_cross_entropy_terms", {"f32[2,3]:0.1..0.9, f32[2,3]:0..1"}).of("binary_cross_entropy_with_logits", {"[2,3], [2,3]:0..1", "[2,3], [2,3]:0..1, [3]:0.5..1!, [3]:0.5..1!, 0"})
      .refuses("binary_cross_entropy binary_cross_entropy_with_logits", {"[2,3]:0..1, [2]:0..1"}).of("kl_div", {"[2,3], [2,3]:0.1..1", "[4], [4], 2, log_target=True"}).of("poisson_nll_loss", {"[2,3], [2,3]:0.5..3, True, False, 1e-8, 1", "[4]:0.5..2, [4]:0.5..3, False, True, 1e-8, 2"});
}

static const Op* const loss_ops[] = {
    &op_nll_loss_forward, &op_nll_loss, &op_nll_loss2d, &op_nll_loss_nd, &op_cross_entropy, &op_mse_loss, &op_l1_loss,
    &op_smooth_l1_loss, &op_huber_loss, &op_soft_margin_loss, &op_bce_terms, &op_binary_cross_entropy, &op_bce_with_logits, &op_kl_div,
    &op_poisson_nll_loss};
OpFamily loss_family() { return loss_ops; }

}  // namespace phlox
