// Covariance, finite-difference gradients, quantiles, cross products and splits at positions that are data.
#include <algorithm>
#include <cmath>

#include "ops/complex.h"
#include "ops/composite.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- covariance and correlation: variables are rows, observations columns

static Val covariance(const Args& a, Val x, Val correction, Val fweights, Val aweights) {
  if (x.rank() > 2) a.error("too many dimensions", cat(x.type()), "at most 2");
  if (is_bool(x.dtype())) a.error("the covariance of bools is not defined", "bool", "a number");
  x = wide(x);
  if (x.rank() == 0) x = reshape(x, {1, 1});
  else if (x.rank() == 1) x = unsqueeze(x, 0);
  GraphBuilder& g = a.builder();
  const DType d = x.dtype();
  const Dim n = x.size(1);
  for (Val v : {fweights, aweights})
    if (v && (v.rank() > 1 || !dim_eq(v.numel(), n))) a.error("there must be a weight for every observation", cat(v.type(), " for ", x.type()), cat("a vector of ", n));
  Val w;
  if (fweights) w = cast(fweights, d);
  if (aweights) w = w ? w * cast(aweights, d) : cast(aweights, d);
  Val total = dim_value(g, n, d), mean_of;
  if (w) {
    w = reshape(w, {n});
    total = sum(w, {0});
    mean_of = sum(x * w, {1}, true) / total;
  } else {
    mean_of = mean(x, {1}, true);
  }
  // With weights of importance the correction is scaled by their mean square.
  Val norm = real_part(total - (w && aweights ? correction * sum(w * cast(aweights, d), {0}) / total : correction));
  norm = map(Scalar::max, norm, constant_like(norm, 0));
  const Val off = x - mean_of, weighted = w ? off * w : off;
  return contract(off, conj(weighted), {}, {}, {1}, {1}) / cast(norm, d);
}
static Val squeezed(Val c) { return dim_eq(c.size(0), 1) ? reshape(c, {}) : c; }
static Vals cov_rule(const Args& a) {
  const Val x = a[0];
  const Val r = covariance(a, x, cast(a[1], wide(x).dtype()), a.optional(2), a.optional(3));
  DType d = to_floating(x.dtype());
  if (a.has(3)) d = promote(d, a[3].dtype());
  return {cast(squeezed(r), d)};
}
static Vals corrcoef_rule(const Args& a) {
  const Val x = a[0];
  const Val c = covariance(a, x, full(a.builder(), {}, wide(x).dtype(), 1), {}, {});
  if (dim_eq(c.size(0), 1)) return {round_like(reshape(c / c, {}), x)};
  const Val spread = map(Scalar::sqrt, real_part(diagonal(c, 0, 1, 0)));
  const Val r = c / unsqueeze(spread, 1) / unsqueeze(spread, 0);
  if (is_complex(r.dtype())) return {r};
  const Val one = constant_like(r, 1), low = constant_like(r, -1);
  return {round_like(select(map(Scalar::lt, one, r), one, select(map(Scalar::lt, r, low), low, r)), x)};
}

// --- gradients by finite differences: second order inside, first or second order at the ends

// `at`: coordinates along d, or null with an even spacing.
static Val finite_difference(const Args& a, Val x, int d, double spacing, Val at, int64_t order) {
  const Dim n = x.size(d);
  if (dim_lt(n, order + 1)) a.error("too few elements for this edge order", cat(n), cat("at least ", order + 1));
  auto part = [&](Dim start, Dim count) { return slice(x, d, start, count); };
  if (!at) {
    // 16-bit values are rounded at every step.
    const DType t = x.dtype();
    auto r = [&](Val v) { return rounded(v, t); };
    x = widen(x);
    Val inner = r(part(2, n - 2) - part(0, n - 2)) / (2 * spacing), left, right;
    if (order == 1) {
      left = r(part(1, 1) - part(0, 1)) / spacing;
      right = r(part(n - 1, 1) - part(n - 2, 1)) / spacing;
    } else {
      left = r(r(r(part(0, 1) * -1.5) + r(part(1, 1) * 2.0)) - r(part(2, 1) * 0.5)) / spacing;
      right = r(r(r(part(n - 3, 1) * 0.5) - r(part(n - 2, 1) * 2.0)) + r(part(n - 1, 1) * 1.5)) / spacing;
    }
    return cast(concat({left, inner, right}, d), t);
  }
  Dims shape(size_t(x.rank()), 1);
  shape[size_t(d)] = n - 1;
  const Val h = reshape(cast(slice(at, 0, 1, n - 1), x.dtype()) - cast(slice(at, 0, 0, n - 1), x.dtype()), shape);
  auto step = [&](Dim start, Dim count) { return slice(h, d, start, count); };
  const Val before = step(0, n - 2), after = step(1, n - 2);
  const Val ca = -after / (before * (before + after)), cb = (after - before) / (before * after), cc = before / (after * (before + after));
  const Val inner = ca * part(0, n - 2) + cb * part(1, n - 2) + cc * part(2, n - 2);
  Val left, right;
  if (order == 1) {
    left = (part(1, 1) - part(0, 1)) / step(0, 1);
    right = (part(n - 1, 1) - part(n - 2, 1)) / step(n - 2, 1);
  } else {
    const Val l1 = step(0, 1), l2 = step(1, 1), r1 = step(n - 3, 1), r2 = step(n - 2, 1);
    left = part(0, 1) * -((2.0 * l1 + l2) / (l1 * (l1 + l2))) + part(1, 1) * ((l1 + l2) / (l1 * l2)) - part(2, 1) * (l1 / (l2 * (l1 + l2)));
    right = part(n - 3, 1) * (r2 / (r1 * (r1 + r2))) - part(n - 2, 1) * ((r1 + r2) / (r1 * r2)) + part(n - 1, 1) * ((2.0 * r2 + r1) / (r2 * (r1 + r2)));
  }
  return concat({left, inner, right}, d);
}
static Val floating(Val x) { return cast(x, to_floating(x.dtype())); }
// Parameters by name: the overloads order them differently.
static Vals gradient_rule(const Args& a) {
  const Schema& s = a.op().schema;
  const int spacing = s.find("spacing"), dim = s.find("dim"), order = s.find("edge_order");
  const Val x = floating(a[0]);
  const int64_t edge = a.i(order);
  if (edge != 1 && edge != 2) a.error("unknown edge order", cat(edge), "1 or 2");
  Ints dims = dim < 0 || !a.has(dim) ? all_dims(x.rank()) : a.ints(dim);
  for (int64_t& d : dims) d = wrap_dim(d, x.rank(), a.name());
  for (size_t i = 0; i < dims.size(); ++i)
    for (size_t j = 0; j < i; ++j) if (dims[i] == dims[j]) a.error("a dimension is listed twice", cat("[", join(dims), "]"), "distinct dimensions");
  const bool given = spacing >= 0 && a.has(spacing), coordinates = given && s.params[size_t(spacing)].type == ParamType::tensor,
             list = given && a.raw(spacing).kind == ArgKind::list;
  std::vector<Val> at;
  if (coordinates) at = a.vals(spacing);
  if (list && a.raw(spacing).count != dims.size())
    a.error("there are not as many spacings as dimensions", cat(a.raw(spacing).count, " and ", dims.size()), "equal numbers");
  Vals r;
  for (size_t i = 0; i < dims.size(); ++i) {
    double h = 1;
    if (!coordinates && given) {
      const Arg& n = list ? a.raw(spacing).list[i] : a.raw(spacing);
      if (n.kind == ArgKind::value) a.error("the spacing must be a number here", "a tensor");
      h = n.kind == ArgKind::real ? n.real : double(dim_int(n.as_dim(), a.name()));
    }
    r.push_back(finite_difference(a, x, int(dims[i]), h, coordinates ? at[i] : Val{}, edge));
  }
  return r;
}
#define EACH_GRADIENT(X)                                                                                               \
  X(gradient_scalarint, "gradient.scalarint(Tensor self, *, Scalar? spacing=None, int? dim=None, int edge_order=1)")   \
  X(gradient_scalararray, "gradient.scalararray(Tensor self, *, Scalar spacing, int[] dim, int edge_order=1)")         \
  X(gradient_array, "gradient.array(Tensor self, *, int[] dim, int edge_order=1)")                                     \
  X(gradient_scalarrayint, "gradient.scalarrayint(Tensor self, *, Scalar[] spacing, int? dim=None, int edge_order=1)") \
  X(gradient_scalarrayarray, "gradient.scalarrayarray(Tensor self, *, Scalar[] spacing, int[] dim, int edge_order=1)") \
  X(gradient_tensorarrayint, "gradient.tensorarrayint(Tensor self, *, Tensor[] spacing, int? dim=None, int edge_order=1)") \
  X(gradient_tensorarray, "gradient.tensorarray(Tensor self, *, Tensor[] spacing, int[] dim, int edge_order=1)")
#define GRADIENT(id, text) \
  static constexpr Op op_##id{{.schema = text " -> Tensor[]", .doc = "Derivatives along dimensions by finite differences.", \
                               .expand = gradient_rule, .static_args = 2, .sample = samples}};
EACH_GRADIENT(GRADIENT)

// --- quantiles: positions in the sorted order, which may lie between two elements

template <bool skip_nan>
static Vals quantile_rule(const Args& a) {
  Val x = a[0];
  if (x.dtype() != DType::f32 && x.dtype() != DType::f64) a.error("quantiles need float32 or float64", cat(x.dtype()));
  GraphBuilder& g = a.builder();
  const bool number = a.raw(1).kind != ArgKind::value || a[1].type().weak;
  Val q = cast(a[1], x.dtype());
  if (q.rank() > 1) a.error("q has too many dimensions", cat(q.type()), "at most 1");
  const bool keepdim = a.b(3);
  const std::string_view how = a.s(4);
  const int rank = x.rank();
  int d = 0;
  if (a.has(2)) d = a.dim(2, rank);
  Dims kept = x.shape();
  if (!a.has(2)) {
    kept.assign(size_t(rank), 1);
    x = reshape(x, {x.numel()});
  } else if (rank == 0) {
    x = reshape(x, {1});
  } else {
    kept[size_t(d)] = 1;
    Ints perm;
    for (int k = 0; k < rank; ++k) if (k != d) perm.push_back(k);
    perm.push_back(d);
    x = permute(x, perm);
  }
  const int last = x.rank() - 1;
  if (dim_eq(x.size(last), 0)) a.error("quantiles of nothing are not defined", cat(a[0].type()));
  const OpInfo* sort = find_op("sort");
  PHLOX_CHECK(sort, "quantile needs sort");
  const Arg sort_args[] = {Arg::of_value(x.id), Arg::of_dim(last), Arg::of_bool(false)};
  const Val sorted = g.call(*sort, sort_args)[0];
  const Dims rows(std::span<const Dim>(x.shape().data(), size_t(last)));
  const Val bad = is_nan(sorted), n = dim_value(g, x.size(last), x.dtype());
  // The last usable position of each row, in the shape rows + [1].
  Dims with_one = rows;
  with_one.push_back(1);
  Val top = broadcast_to(n - 1.0, with_one);
  if (skip_nan) top = maximum(sum(cast(logical_not(bad), x.dtype()), {last}, true) - 1.0, constant_like(top, 0));
  const Val points = reshape(q, {q.numel()});
  Dims shape = rows;
  shape.push_back(points.size(0));
  Val rank_at = broadcast_to(points, shape) * broadcast_to(top, shape);
  if (!skip_nan) {  // a row with NaN is NaN throughout
    const Val any = reduce(bad, {last}, "or", true);
    rank_at = select(broadcast_to(any, shape), broadcast_to(top, shape), rank_at);
  }
  Val low = map(Scalar::floor, rank_at);
  if (how == "higher") low = map(Scalar::ceil, rank_at);
  else if (how == "nearest") low = map(Scalar::round, rank_at);
  else if (how != "linear" && how != "lower" && how != "midpoint")
    a.error("unknown interpolation", std::string(how), "'linear', 'lower', 'higher', 'midpoint' or 'nearest'");
  Val r = take_along(sorted, cast(stop_gradient(low), DType::i64), last);
  if (how == "linear" || how == "midpoint") {
    const Val high = take_along(sorted, cast(stop_gradient(map(Scalar::ceil, rank_at)), DType::i64), last);
    const Val w = how == "midpoint" ? constant_like(rank_at, 0.5) : rank_at - low;
    // As lerp: exact at both ends.
    r = select(map(Scalar::lt, w, constant_like(w, 0.5)), r + w * (high - r), high - (high - r) * (1.0 - w));
  }
  // Quantiles first, then the kept dims.
  Ints perm{last};
  for (int k = 0; k < last; ++k) perm.push_back(k);
  r = permute(r, perm);
  Dims out;
  if (!number && a[1].rank() == 1) out.push_back(points.size(0));
  if (keepdim) out.append(kept.begin(), kept.end());
  else out.append(rows.begin(), rows.end());
  if (!keepdim && rank == 0) out.resize(out.size() - rows.size());
  return {reshape(r, out)};
}
#define EACH_QUANTILE(X) X(quantile, false) X(nanquantile, true)
#define QUANTILE(name, skip)                                                                                               \
  static constexpr Op op_##name{{.schema = #name "(Tensor self, Tensor q, int? dim=None, bool keepdim=False, *, str interpolation='linear') -> Tensor", \
                                 .doc = "The elements below which a share q of all lies.", .expand = quantile_rule<skip>, .sample = samples}};  \
  static constexpr Op op_##name##_number{{.schema = #name ".scalar(Tensor self, float q, int? dim=None, bool keepdim=False, *, str interpolation='linear') -> Tensor", \
                                          .doc = "The element below which a share q of all lies.", .expand = quantile_rule<skip>, .sample = samples}};
EACH_QUANTILE(QUANTILE)

// --- products of 3-vectors

static Val cross_product(const Args& a, Val x, Val y, int64_t dim) {
  const Val both[] = {x, y};
  const DType t = result_dtype(both);
  const Dims shape = broadcast_shapes(a.name(), x.shape(), y.shape());
  x = broadcast_to(widen(cast(x, t)), shape);
  y = broadcast_to(widen(cast(y, t)), shape);
  const int d = wrap_dim(dim, int(shape.size()), a.name());
  if (shape.empty() || !dim_eq(shape[size_t(d)], 3)) a.error("vectors that are not of length 3", cat(shape_text(shape), ", dimension ", d), "a size of 3");
  auto at = [&](Val v, int k) { return slice(v, d, k % 3, 1); };
  std::vector<Val> parts;
  for (int k = 0; k < 3; ++k) parts.push_back(rounded(at(x, k + 1) * at(y, k + 2), t) - rounded(at(x, k + 2) * at(y, k + 1), t));
  return cast(concat(parts, d), t);
}
static Vals linalg_cross_rule(const Args& a) {
  if (a[0].rank() != a[1].rank()) a.error("the ranks differ", cat(a[0].type(), " and ", a[1].type()), "equal ranks");
  return {cross_product(a, a[0], a[1], a.i(2))};
}
static Vals cross_rule(const Args& a) {
  if (a.has(2)) return linalg_cross_rule(a);
  for (int d = 0; d < a[0].rank(); ++d) if (dim_eq(a[0].size(d), 3)) return {cross_product(a, a[0], a[1], d)};
  a.error("no dimension has size 3", cat(a[0].type()), "vectors of length 3");
}
static constexpr Op op_linalg_cross{{
    .schema = "linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor",
    .doc = "The cross product of vectors of length 3.",
    .expand = linalg_cross_rule,
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_cross{{
    .schema = "cross(Tensor self, Tensor other, int? dim=None) -> Tensor",
    .doc = "linalg_cross; without dim along the first dimension of size 3.",
    .expand = cross_rule,
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_cov{{
    .schema = "cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None) -> Tensor",
    .doc = "The covariance matrix of variables (rows) over observations (columns).",
    .expand = cov_rule,
    .sample = samples,
}};
static constexpr Op op_corrcoef{{
    .schema = "corrcoef(Tensor self) -> Tensor",
    .doc = "The correlation matrix of variables (rows) over observations (columns).",
    .expand = corrcoef_rule,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("diff", {"[2,5]", "[5], 2", "[3,4], 1, 0, [1,4], [2,4]"}).refuses("diff", {"[]", "[2,5], -1", "[3,4], 1, 0, [1,3]"})
      .of("trapezoid.x trapz.x cumulative_trapezoid.x", {"[2,5], [5]", "[2,5], [2,5]"}).of("trapezoid.dx trapz.dx cumulative_trapezoid.dx", {"[2,5]", "[5,2], dx=2, dim=0"})
      .of("gradient.scalarint", {"[5]", "[4,5], spacing=2, dim=1", "[4,5], edge_order=2"}).of("gradient.scalararray", {"[4,5], spacing=2, dim=[0,1]"}).of("gradient.array", {"[4,5], dim=[0,1]", "[5], dim=[0], edge_order=2"})
      .of("gradient.scalarrayint", {"[4,5], spacing=[0.5], dim=1"}).of("gradient.scalarrayarray", {"[4,5], spacing=[0.5,2], dim=[0,1]"}).of("gradient.tensorarrayint", {"[4,5], spacing={[5]:sorted!}, dim=1"})
      .of("gradient.tensorarray", {"[4,5], spacing={[4]:sorted!, [5]:sorted!}, dim=[0,1]"}).refuses("gradient.scalarint", {"[1]", "[5], edge_order=3"}).refuses("gradient.array", {"[4,5], dim=[0,0]", "[4,5], dim=[2]", "[1,5], dim=[0]"})
      .of("quantile nanquantile", {"[3,4]:distinct, [2]=0.25|0.6!", "[3,4]:distinct, []=0.4!, 1, True", "[5]:distinct, [3]=0|0.5|1!, interpolation='nearest'"})
      .of("quantile.scalar nanquantile.scalar", {"[3,4]:distinct, 0.3", "[3,4]:distinct, 0.7, 0, interpolation='midpoint'", "[5]:distinct, 0.4, interpolation='lower'"})
      .refuses("quantile.scalar nanquantile.scalar", {"[4], 1.5", "[4], 0.5, interpolation='best'", "[4], 0.5, 1"}).refuses("quantile nanquantile", {"[4], [2,2]", "[4], [2]:0..1, interpolation='best'"})
      .of("linalg_cross", {"[2,3], [2,3]", "[3,4], [3,4], dim=0"}).of("cross", {"[2,3], [2,3]", "[3,4], [3,4], 0"}).refuses("linalg_cross cross", {"[2,4], [2,4]", "[], []"})
      .of("cov", {"[3,5]", "[5]", "[3,5], correction=0, fweights=i64[5]:1..3, aweights=[5]:0.5..2"}).of("corrcoef", {"[3,5]", "[5]"}).refuses("cov", {"[2,2,2]", "[3,5], fweights=i64[4]:1..2", "[3,5], aweights=[3]"}).refuses("corrcoef", {"[2,2,2]"});
}

static const Op* const statistics_ops[] = {
#define LIST(id, ...) &op_##id,
#define LIST_TWO(id, ...) &op_##id, &op_##id##_number,
    EACH_GRADIENT(LIST) EACH_QUANTILE(LIST_TWO) &op_linalg_cross, &op_cross, &op_cov, &op_corrcoef};
OpFamily statistics_family() { return statistics_ops; }

}  // namespace phlox
