// Distances and similarities between vectors. Gradients of norms at 0 are 0, as in ATen.
#include <cmath>

#include "ops/complex.h"
#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

// (sum |x|^p)^(1/p) along dims, by cases of p; a node of its own where the derivative is special.
static Val p_norm(Val x, double p, const Ints& dims, bool keep) {
  if (is_complex(x.dtype())) x = abs_of(x);
  const Val r = abs_val(x);
  if (p == 0) return sum(cast_like(not_equal(x, like(x, 0)), x), dims, keep);
  if (p == 1) return sum(r, dims, keep);
  if (std::isinf(p)) return reduce(r, dims, p > 0 ? "max" : "min", keep);
  if (p == 2) {
    const Val s = sum(x * x, dims, keep), zero = equal(s, like(s, 0));
    return where(zero, like(s, 0), sqrt_val(where(zero, like(s, 1), s)));
  }
  const Val none = equal(r, like(r, 0)), powers = map(Scalar::pow, where(none, like(r, 1), r), fill_like(r, p));
  const Val s = sum(where(none, like(r, 0), powers), dims, keep), zero = equal(s, like(s, 0));
  return where(zero, like(s, 0), map(Scalar::pow, where(zero, like(s, 1), s), fill_like(s, 1 / p)));
}

static constexpr Op op_pairwise_distance{{
    .schema = "pairwise_distance(Tensor x1, Tensor x2, float p=2, float eps=1e-06, bool keepdim=False) -> Tensor",
    .doc = "The p-norm of x1 - x2 + eps along the last dimension.",
    .expand = [](const Args& a) -> Vals {
      const Val d = widen(a[0] - a[1]) + a.f(3);
      require(a, d.rank() >= 1, "the inputs need a dimension", shape_of(a[0]));
      const Val v[] = {a[0], a[1]};
      const DType t = to_floating(result_dtype(v));
      return {cast(p_norm(d, a.f(2), {d.rank() - 1}, a.b(4)), is_complex(t) ? real_dtype(t) : t)};
    },
    .sample = samples,
}};

static constexpr Op op_cosine_similarity{{
    .schema = "cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor",
    .doc = "x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along dim.",
    .expand = [](const Args& a) -> Vals {
      const Val v[] = {a[0], a[1]};
      const DType d = to_floating(result_dtype(v));
      const Dims shape = broadcast_shapes(a.name(), a[0].shape(), a[1].shape());
      const Val x = broadcast_to(widen(cast(a[0], d)), shape), y = broadcast_to(widen(cast(a[1], d)), shape);
      const int k = wrap_dim(a.i(2), x.rank(), a.name());
      const Ints dims = x.rank() ? Ints{k} : Ints{};
      auto unit = [&](Val t) {
        const Val n = p_norm(t, 2, dims, true);
        // Limited without a share of the gradient at equality.
        return t / where(n < like(n, a.f(3)), like(n, a.f(3)), n);
      };
      return {cast(sum(unit(x) * unit(y), dims), d)};
    },
    .sample = samples,
}};

// x1[..., P, M], x2[..., R, M] -> [..., P, R]
static Val all_distances(Val x, Val y, double p) {
  const Val d = unsqueeze(x, x.rank() - 1) - unsqueeze(y, y.rank() - 2);
  return p_norm(d, p, {d.rank() - 1}, false);
}
static void require_float(const Args& a, Val x) {
  require(a, is_float(x.dtype()), "distances are floating-point numbers", cat(x.dtype()), "a floating-point input");
}
static Val cdist(const Args& a) {
  const Val x = a[0], y = a[1];
  require_float(a, x);
  require_float(a, y);
  require(a, x.rank() >= 2 && y.rank() >= 2, "both inputs need at least two dimensions", cat(shape_of(x), " and ", shape_of(y)));
  require(a, dim_eq(x.size(-1), y.size(-1)), "the vectors have different lengths", cat(shape_of(x), " and ", shape_of(y)));
  require(a, a.f(2) >= 0, "p must not be negative", cat(a.f(2)));
  return cast_like(all_distances(widen(x), widen(y), a.f(2)), x);
}
static constexpr Op op_cdist{{
    .schema = "cdist(Tensor x1, Tensor x2, float p=2, int? compute_mode=None) -> Tensor",
    .doc = "The p-norm distance of every vector of x1 to every vector of x2.",
    .expand = [](const Args& a) -> Vals { return {cdist(a)}; },
    .sample = samples,
}};
static constexpr Op op_pdist{{
    .schema = "pdist(Tensor self, float p=2) -> Tensor",
    .doc = "The p-norm distances of all pairs of rows, as a vector.",
    .expand = [](const Args& a) -> Vals {
      const Val x = widen(a[0]);
      require_float(a, a[0]);
      require(a, x.rank() == 2, "input must be a matrix", shape_of(x));
      require(a, a.f(1) >= 0, "the norm may not be of a negative order", cat(a.f(1)), "0 or more");
      const int64_t n = dim_int(x.size(0), a.name());
      if (n < 2) return {full(a.builder(), {0}, a[0].dtype(), 0)};
      const Dim pairs = n * (n - 1) / 2;
      // Pair k belongs to the row i with i n - i (i + 1) / 2 <= k, found by the inverse of that sum.
      const Val k = iota_like({pairs}, 0, x, DType::f64), b = like(k, double(n) - 0.5);
      const Val i = cast(map(Scalar::floor, b - sqrt_val(b * b - k * 2.0 - 1.0)), DType::i64);
      // start of row i
      const Val start = i * double(n) - floor_div(i * (i + 1.0), 2);
      const Val j = iota_like({pairs}, 0, x) - start + i + 1.0;
      const Val d = gather(x, {i}, {0}) - gather(x, {j}, {0});
      return {cast_like(p_norm(d, a.f(1), {1}, false), a[0])};
    },
    .sample = samples,
}};
// --- samples

static void samples(SampleBuilder& s) {
  s.of("pairwise_distance", {"[3,4], [3,4]", "[3,4], [4], 1, 1e-6, True"}).of("cosine_similarity", {"[3,4], [3,4]", "[3,4], [3,4], 0"}).of("cdist", {"[3,4], [2,4]", "[2,3,4], [2,5,4], 1", "[3,4]:distinct, [2,4], inf"}).of("pdist", {"[4,3]", "[4,3], 1"}).refuses("cdist", {"[3,4], [2,5]", "[4], [2,4]", "[3,4], [2,4], -1"}).refuses("pdist", {"[4]", "[4,3], -1"});
}

static const Op* const distance_ops[] = {&op_pairwise_distance, &op_cosine_similarity, &op_cdist, &op_pdist};
OpFamily distance_family() { return distance_ops; }

}  // namespace phlox
