// Margin and embedding losses.
#include "ops/indexing.h"

namespace phlox {

static void samples(SampleBuilder& s);

static Val positive_part(Val x) {
  const Val zero = like(x, 0);
  return where(x > zero, x, zero);
}
// clamp_min as ATen differentiates it: the gradient passes where x >= 0.
static Val clamp_min0(Val x) {
  const Val zero = like(x, 0);
  return where(x >= zero, x, zero);
}

static constexpr Op op_margin_ranking{{
    .schema = "margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, int reduction=Mean) -> Tensor",
    .doc = "max(0, -target * (input1 - input2) + margin).",
    .expand = [](const Args& a) -> Vals { return {reduce_loss(a, clamp_min0(-a[2] * (a[0] - a[1]) + a[3]), a.i(4))}; },
    .sample = samples,
}};
static constexpr Op op_hinge_embedding{{
    .schema = "hinge_embedding_loss(Tensor self, Tensor target, float margin=1.0, int reduction=Mean) -> Tensor",
    .doc = "self where target is 1, max(0, margin - self) where it is -1.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], t = a[1], zero = like(x, 0);
      const Val apart = where(equal(t, like(t, 1)), zero, clamp_min0(a.f(2) - x)), near = where(equal(t, like(t, -1)), zero, x);
      return {reduce_loss(a, apart + near, a.i(3))};
    },
    .sample = samples,
}};
static constexpr Op op_cosine_embedding{{
    .schema = "cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, int reduction=Mean) -> Tensor",
    .doc = "1 - cos where target is 1, max(0, cos - margin) where it is -1.",
    .expand = [](const Args& a) -> Vals {
      const Val both[] = {a[0], a[1]};
      const DType d = to_floating(result_dtype(both));
      // In steps that 16-bit values are rounded after, as the composite that it is in ATen.
      const Val x = widen(cast(a[0], d)), y = widen(cast(a[1], d)), t = a[2];
      auto r = [&](Val v) { return rounded(v, d); };
      require(a, t.rank() <= 1, "target must be a vector", shape_of(t));
      const Ints dims{x.rank() - 1};
      auto dot = [&](Val p, Val q) { return r(sum(r(p * q), dims)); };
      const Val cosine = r(dot(x, y) / r(sqrt_val(r(r(dot(x, x) + 1e-12) * r(dot(y, y) + 1e-12)))));
      const Val zero = like(cosine, 0);
      const Val near = where(equal(t, like(t, 1)), r(1.0 - cosine), zero);
      const Val apart = where(equal(t, like(t, -1)), clamp_min0(r(cosine - a.f(3))), zero);
      return {cast(reduce_loss(a, near + apart, a.i(4)), d)};
    },
    .sample = samples,
}};
static constexpr Op op_triplet_margin{{
    .schema = "triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1.0, float p=2, float eps=1e-06, "
              "bool swap=False, int reduction=Mean) -> Tensor",
    .doc = "max(0, |anchor - positive| - |anchor - negative| + margin); swap uses the nearer of the two distances to negative.",
    .expand = [](const Args& a) -> Vals {
      auto distance = [&](int x, int y) {
        return call(a.builder(), "pairwise_distance", {a.raw(x), a.raw(y), a.raw(4), a.raw(5)})[0];
      };
      const Val near = distance(0, 1);
      Val far = distance(0, 2);
      if (a.b(6)) far = minimum(far, distance(1, 2));
      return {reduce_loss(a, clamp_min0(near - far + a.f(3)), a.i(7))};
    },
    .sample = samples,
}};

// self[N, C] or [C], target[N] or a number, p, margin, weight, reduction
static constexpr Op op_multi_margin{{
    .schema = "multi_margin_loss(Tensor self, Tensor target, Scalar p=1, Scalar margin=1, Tensor? weight=None, int reduction=Mean) -> Tensor",
    .doc = "The mean over all other classes of max(0, margin - self[target] + self[class])^p.",
    .expand = [](const Args& a) -> Vals {
      const Val given = widen(a[0]), t = index_values(a, 1);
      require_float(a, a[0], "self");
      const bool single = given.rank() < 2;
      const Val x = single ? reshape(given, {1, given.numel()}) : given;
      const Val target = reshape(t, {x.size(0)});
      const int64_t p = int64_t(a.f(2));
      require(a, p == 1 || p == 2, "only p = 1 and p = 2 are defined", cat(a.f(2)));
      const Val own = gather_along(x, 1, unsqueeze(target, 1));
      Val z = positive_part(x - own + a.f(3));
      if (p == 2) z = z * z;
      if (a.has(4)) z = z * gather(widen(a[4]), {unsqueeze(target, 1)}, {0});
      const Val at = equal(iota_like(x.shape(), 1, x), unsqueeze(target, 1));
      Val loss = sum(where(at, like(z, 0), z), {1}) / count_of(z, {1});
      if (single && t.rank() == 0) loss = reshape(loss, {});
      return {cast_like(reduce_loss(a, loss, a.i(5)), a[0])};
    },
    .forms = Forms::out,
    .static_args = 0xc,
    .sample = samples,
}};

// target lists class numbers up to the first -1.
static Val multilabel_margin(const Args& a, Val& is_target) {
  const Val given = widen(a[0]), t = index_values(a, 1);
  require(a, given.shape() == t.shape(), "target must have the shape of self", shape_of(t), shape_of(given));
  const bool single = given.rank() < 2;
  const Dims shape = single ? Dims{1, given.numel()} : given.shape();
  const Val x = reshape(given, shape), target = reshape(t, shape);
  const Val zero = full_int(a.builder(), {}, DType::i64, 0);
  const Val ended = cast(target < zero, DType::i64), listed = equal(scan(ended, 1, "sum"), zero);
  const Val index = where(listed, target, zero);
  is_target = scatter_along(full(a.builder(), shape, x.dtype(), 0), 1, index, cast_like(listed, x), ScatterMode::max);
  // z[n, j, i] = max(0, 1 - (x[target j] - x[i])) for listed j and i that is no target
  const Val own = gather_along(x, 1, index);
  const Val z = positive_part(1.0 - (unsqueeze(own, 2) - unsqueeze(x, 1)));
  const Val counts = unsqueeze(listed, 2) & unsqueeze(equal(is_target, like(is_target, 0)), 1);
  const Val loss = sum(where(counts, z, like(z, 0)), {1, 2}) / count_of(x, {1});
  is_target = reshape(is_target, given.shape());
  return single ? reshape(loss, {}) : loss;
}
static constexpr Op op_multilabel_margin{{
    .schema = "multilabel_margin_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor",
    .doc = "The mean of max(0, 1 - self[t] + self[class]) over the listed targets t and all classes that are not listed.",
    .expand = [](const Args& a) -> Vals {
      Val is_target;
      return {cast_like(reduce_loss(a, multilabel_margin(a, is_target), a.i(2)), a[0])};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_multilabel_margin_forward{{
    .schema = "multilabel_margin_loss_forward(Tensor self, Tensor target, int reduction) -> (Tensor, Tensor)",
    .doc = "multilabel_margin_loss and which classes are targets.",
    .expand = [](const Args& a) -> Vals {
      Val is_target;
      const Val loss = cast_like(reduce_loss(a, multilabel_margin(a, is_target), a.i(2)), a[0]);
      return {loss, cast_like(is_target, a[0])};
    },
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("margin_ranking_loss", {"[4], [4], [4]=1|-1|1|-1!", "[4], [4], [4]=1|-1|1|-1!, 0.5, 2"}).of("hinge_embedding_loss", {"[4], [4]=1|-1|1|-1!", "[2,3], [2,3]=1|-1!, 0.5, 0"}).of("cosine_embedding_loss", {"[3,4], [3,4], [3]=1|-1|1!", "[4], [4], []=1!, 0.2"}).of("triplet_margin_loss", {"[3,4], [3,4], [3,4]", "[3,4], [3,4], [3,4], 2, 2, 1e-6, True, 2"})
      .of("multi_margin_loss", {"[3,4], i64[3]:0..3", "[3,4], i64[3]:0..3, 2, 0.5, [4]:0.5..1!, 0", "[4], i64[]:0..3"}).of("multilabel_margin_loss", {"[2,4], i64[2,4]=3|0|-1|1|0|2|1|-1", "[4], i64[4]=1|-1|0|0, 2"}).of("multilabel_margin_loss_forward", {"[2,4], i64[2,4]=3|0|-1|1|0|2|1|-1, 1"})
      .refuses("margin_ranking_loss", {"[4], [3], [4]"}).refuses("multi_margin_loss", {"[3,4], i64[2]:0..3", "[3,4], i64[3]:0..3, 3", "[3,4], i64[3]:0..3, 1, 1, [3]"}).refuses("multilabel_margin_loss", {"[2,4], i64[2,3]:0..1"});
}

static const Op* const margin_loss_ops[] = {&op_margin_ranking, &op_hinge_embedding, &op_cosine_embedding, &op_triplet_margin,
                                            &op_multi_margin, &op_multilabel_margin, &op_multilabel_margin_forward};
OpFamily margin_loss_family() { return margin_loss_ops; }

}  // namespace phlox
