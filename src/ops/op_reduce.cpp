// Reductions: sums, extremes, tests, moments and norms along dimensions.
#include <cmath>

#include "ops/arith.h"
#include "ops/complex.h"

namespace phlox {

static void samples(SampleBuilder& s);

// --- helpers

// A dim argument that is absent, one int or a list; the list form reads empty as all.
struct Along {
  Ints dims;
  bool keepdim;
};
static Along along(const Args& a, int dim, int keepdim, Val x) {
  return {dim < 0 ? all_dims(x.rank()) : reduce_dims(a, dim, x.rank()), keepdim >= 0 && a.b(keepdim)};
}
static Val kept(Val reduced, Val x, const Ints& dims) {  // with the reduced dims back as 1
  Dims shape = x.shape();
  for (int64_t d : dims) shape[size_t(d)] = 1;
  return reshape(reduced, shape);
}
static bool is_empty_along(Val x, const Ints& dims) {
  for (int64_t d : dims) if (dim_eq(x.size(int(d)), 0)) return true;
  return false;
}

// The dtype that sums and products of x have: the asked one, else int64 for integers.
static DType sum_dtype(const Args& a, int dtype, DType of) {
  return a.dtype(dtype).value_or(is_float(of) || is_complex(of) ? of : DType::i64);
}
static DType mean_dtype(const Args& a, int dtype, DType of) {
  const DType d = a.dtype(dtype).value_or(of);
  if (!is_float(d) && !is_complex(d)) a.error("the mean of integers is not defined", cat(d), "a float dtype", "pass dtype=float32");
  return d;
}

// --- sums and products

template <int dim, int keepdim, int dtype>
static Vals sum_rule(const Args& a) {
  const Along w = along(a, dim, keepdim, a[0]);
  const Val x = cast(a[0], sum_dtype(a, dtype, a[0].dtype()));
  return {w.dims.empty() ? copy(x) : sum(x, w.dims, w.keepdim)};
}
template <int dim, int keepdim, int dtype>
static Vals mean_rule(const Args& a) {
  const Along w = along(a, dim, keepdim, a[0]);
  const DType d = mean_dtype(a, dtype, a[0].dtype());
  return {cast(mean(cast(a[0], compute_dtype(d)), w.dims, w.keepdim), d)};
}
template <int dtype>
static Vals prod_rule(const Args& a) {
  const Val x = cast(a[0], sum_dtype(a, dtype, a[0].dtype()));
  return {x.rank() == 0 ? copy(x) : reduce(reshape(x, {x.numel()}), {0}, "prod")};
}
static Vals prod_dim_rule(const Args& a) {
  const Val x = cast(a[0], sum_dtype(a, 3, a[0].dtype()));
  const int d = a.dim(1, x.rank());
  return {x.rank() == 0 ? copy(x) : reduce(x, {d}, "prod", a.b(2))};
}
static Val without_nan(Val x) { return is_float(x.dtype()) ? select(is_nan(x), constant_like(x, 0), x) : x; }
static Vals nansum_rule(const Args& a) {
  const Along w = along(a, 1, 2, a[0]);
  const Val x = without_nan(cast(a[0], sum_dtype(a, 3, a[0].dtype())));
  return {w.dims.empty() ? copy(x) : sum(x, w.dims, w.keepdim)};
}
static Vals nanmean_rule(const Args& a) {
  const Along w = along(a, 1, 2, a[0]);
  const DType d = mean_dtype(a, 3, a[0].dtype());
  const Val x = cast(a[0], compute_dtype(d));
  const Val count = sum(cast(map(Scalar::eq, x, x), x.dtype()), w.dims, w.keepdim);
  return {cast(sum(without_nan(x), w.dims, w.keepdim) / count, d)};
}
static Vals count_nonzero_rule(const Args& a) {
  const Along w = along(a, 1, -1, a[0]);
  const Val x = cast(to_bool(a[0]), DType::i64);
  return {w.dims.empty() ? copy(x) : sum(x, w.dims)};
}
static Vals sum_to_size_rule(const Args& a) {
  const Val x = a[0];
  const Dims target = a.dims(1);
  if (int(target.size()) > x.rank() || !(broadcast_shapes(a.name(), target, x.shape()) == x.shape()))
    a.error("self is no broadcast of this shape", shape_text(x.shape()), cat("a shape that ", shape_text(target), " broadcasts to"));
  const int extra = x.rank() - int(target.size());
  Ints dims;
  for (int d = 0; d < x.rank(); ++d)
    if (d < extra || !dim_eq(target[size_t(d - extra)], x.size(d))) dims.push_back(d);
  if (dims.empty()) return {reshape(copy(x), target)};
  return {reshape(sum(is_float(x.dtype()) || is_complex(x.dtype()) ? x : cast(x, DType::i64), dims), target)};
}

// --- tests

template <bool all, int dim, int keepdim>
static Vals test_rule(const Args& a) {
  const Along w = along(a, dim, keepdim, a[0]);
  const Val x = to_bool(a[0]);
  const Val r = w.dims.empty() ? copy(x) : reduce(x, w.dims, all ? "and" : "or", w.keepdim);
  return {a[0].dtype() == DType::u8 ? cast(r, DType::u8) : r};  // ATen's old exception
}

// --- extremes

static void check_not_empty(const Args& a, Val x, const Ints& dims) {
  if (is_empty_along(x, dims)) a.error("there is no extreme of nothing", cat(x.type()), "at least one element along the dimension");
}
template <bool largest>
static Vals extreme_rule(const Args& a) {
  const bool has_dims = a.size() > 1;
  const Along w = along(a, has_dims ? 1 : -1, has_dims ? 2 : -1, a[0]);
  check_not_empty(a, a[0], w.dims);
  return {w.dims.empty() ? copy(a[0]) : reduce(a[0], w.dims, largest ? "max" : "min", w.keepdim)};
}
// The first position of the extreme along a dim, where NaN beats everything; the dim is kept with size 1.
static Val extreme_index(Val x, int d, bool largest) {
  const Val value = broadcast_to(kept(reduce(x, {d}, largest ? "max" : "min"), x, {d}), x.shape());
  Val hit = map(Scalar::eq, x, value);
  if (is_float(x.dtype())) hit = map(Scalar::bor, hit, is_nan(x));
  const Val at = iota(*x.g, x.shape(), d, DType::i64);
  const Val none = broadcast_to(dim_value(*x.g, x.size(d), DType::i64), x.shape());
  return reduce(select(hit, at, none), {d}, "min", true);
}
template <bool largest>
static Vals arg_extreme_rule(const Args& a) {
  const Val x = a[0];
  GraphBuilder& g = a.builder();
  if (!a.has(1)) {
    check_not_empty(a, x, all_dims(x.rank()));
    const Val index = reshape(extreme_index(reshape(x, {x.numel()}), 0, largest), {});
    if (!a.b(2)) return {index};
    return {reshape(index, Dims(size_t(x.rank()), 1))};
  }
  const int d = a.dim(1, x.rank());
  if (x.rank() == 0) return {full_int(g, {}, DType::i64, 0)};
  check_not_empty(a, x, {d});
  const Val index = extreme_index(x, d, largest);
  return {a.b(2) ? index : squeeze(index, d)};
}
// The gradient of the value goes to the element that the index names.
template <bool largest>
static Vals extreme_dim_rule(const Args& a) {
  const Val x = a[0];
  const int d = a.dim(1, x.rank());
  if (x.rank() == 0) return {copy(x), full_int(a.builder(), {}, DType::i64, 0)};
  check_not_empty(a, x, {d});
  const Val index = extreme_index(x, d, largest), value = take_along(x, index, d);
  if (a.b(2)) return {value, index};
  return {squeeze(value, d), squeeze(index, d)};
}
static Vals aminmax_rule(const Args& a) {
  const Val x = a[0];
  const Ints dims = a.has(1) ? Ints{a.dim(1, x.rank())} : all_dims(x.rank());
  if (x.rank() == 0) return {copy(x), copy(x)};
  check_not_empty(a, x, dims);
  return {reduce(x, dims, "min", a.b(2)), reduce(x, dims, "max", a.b(2))};
}

// --- moments

struct Moments { Val variance, mean; };
// sum((x - mean)^2) / max(n - correction, 0), dims kept, in the compute dtype.
static Moments moments(const Args& a, Val x, const Ints& dims, Val correction) {
  if (!is_float(a[0].dtype()) && !is_complex(a[0].dtype())) a.error("the variance of integers is not defined", cat(a[0].dtype()), "a float dtype");
  const Val m = mean(x, dims, true), off = x - m;
  const DType d = real_dtype(x.dtype());
  Val left = cast(count_of(x, dims), d) - cast(correction, d);
  left = map(Scalar::max, left, constant_like(left, 0));
  return {sum(abs2(off), dims, true) / left, m};
}
// The square root whose gradient at 0 is 0, as that of ATen's std and norms.
static Val safe_sqrt(Val v) {
  const Val zero = map(Scalar::eq, v, constant_like(v, 0));
  return select(zero, constant_like(v, 0), map(Scalar::sqrt, select(zero, constant_like(v, 1), v)));
}
// Forms: 0 (self, unbiased), 1 (self, dim, unbiased, keepdim), 2 (self, dim, *, correction, keepdim).
template <int form, bool root, bool with_mean>
static Vals variance_rule(const Args& a) {
  const Val x = wide(a[0]);
  const Along w = along(a, form == 0 ? -1 : 1, form == 0 ? -1 : 3, x);
  GraphBuilder& g = a.builder();
  const Val correction = form == 2 ? (a.has(2) ? a[2] : full(g, {}, DType::f64, 1)) : full(g, {}, DType::f64, a.b(form == 0 ? 1 : 2, true));
  const Moments m = moments(a, x, w.dims, correction);
  auto finish = [&](Val v) {
    if (!w.keepdim) {
      Dims shape;
      for (int d = 0; d < x.rank(); ++d) {
        bool gone = false;
        for (int64_t k : w.dims) gone |= k == d;
        if (!gone) shape.push_back(x.size(d));
      }
      v = reshape(v, shape);
    }
    return is_complex(a[0].dtype()) ? v : round_like(v, a[0]);
  };
  const Val spread = finish(root ? safe_sqrt(m.variance) : m.variance);
  return with_mean ? Vals{spread, finish(m.mean)} : Vals{spread};
}

// --- log-sum-exp

static Vals logsumexp_rule(const Args& a) {
  const Val x = wide(a[0]);
  const Along w = along(a, 1, 2, x);
  if (w.dims.empty()) return {round_like(copy(x), a[0])};
  Val top;
  if (is_empty_along(x, w.dims)) {
    top = constant_like(sum(real_part(x), w.dims, true), 0);
  } else {
    top = stop_gradient(reduce(real_part(x), w.dims, "max", true));
    const Val finite = map(Scalar::lt, map(Scalar::abs, top), constant_like(top, INFINITY));
    top = select(finite, top, constant_like(top, 0));
  }
  const Val r = map(Scalar::log, sum(map(Scalar::exp, x - top), w.dims, true)) + top;
  Ints dims = w.dims;
  return {round_like(w.keepdim ? r : sum(r, dims), a[0])};
}

// --- norms

// (sum |x|^p)^(1/p); the gradient at 0 is 0.
static Val vector_norm(const Args& a, Val x, double p, const Ints& dims, bool keepdim) {
  if (is_complex(x.dtype())) x = p == 0 ? cast(to_bool(x), real_dtype(x.dtype())) : abs_of(x);
  if (dims.empty()) return p == 0 ? cast(to_bool(x), x.dtype()) : map(Scalar::abs, x);
  if (std::isinf(p)) {
    if (is_empty_along(x, dims)) {
      if (p < 0) a.error("there is no smallest element of nothing", cat(x.type()), "at least one element");
      return sum(map(Scalar::abs, x), dims, keepdim);
    }
    return reduce(map(Scalar::abs, x), dims, p > 0 ? "max" : "min", keepdim);
  }
  if (p == 0) return sum(cast(to_bool(x), x.dtype()), dims, keepdim);
  if (p == 1) return sum(map(Scalar::abs, x), dims, keepdim);
  if (p == 2) return safe_sqrt(sum(x * x, dims, keepdim));
  const Val size = map(Scalar::abs, x), zero = map(Scalar::eq, size, constant_like(size, 0));
  const Val power = map(Scalar::pow, select(zero, constant_like(size, 1), size), constant_like(size, p));
  const Val s = sum(select(zero, constant_like(size, p < 0 ? INFINITY : 0.0), power), dims, keepdim);
  const Val none = map(Scalar::eq, s, constant_like(s, 0));
  const Val root = map(Scalar::pow, select(none, constant_like(s, 1), s), constant_like(s, 1 / p));
  return select(none, constant_like(s, p < 0 ? INFINITY : 0.0), root);
}
static Val norm_of(const Args& a, double p, const Along& w, std::optional<DType> dtype) {
  Val x = a[0];
  if (is_int(dtype.value_or(x.dtype())) || is_bool(dtype.value_or(x.dtype()))) a.error("the norm of integers is not defined", cat(x.dtype()), "a float dtype");
  const DType d = dtype.value_or(x.dtype());
  return cast(vector_norm(a, cast(x, compute_dtype(d)), p, w.dims, w.keepdim), real_dtype(d));
}
static Vals linalg_vector_norm_rule(const Args& a) { return {norm_of(a, a.f(1), along(a, 2, 3, a[0]), a.dtype(4))}; }
// Forms of norm: dims and dtype may be missing; no p means 2.
template <int dim, int keepdim, int dtype>
static Vals norm_rule(const Args& a) {
  return {norm_of(a, a.has(1) ? a.f(1) : 2, along(a, dim, keepdim, a[0]), dtype < 0 ? std::nullopt : a.dtype(dtype))};
}
static Vals dist_rule(const Args& a) {
  const Val d = wide(a[0]) - wide(a[1]);
  const Val both[] = {a[0], a[1]};
  return {cast(vector_norm(a, d, a.f(2), all_dims(d.rank()), false), real_dtype(to_floating(result_dtype(both))))};
}
static Vals renorm_rule(const Args& a) {
  const Val x = wide(a[0]);
  const int d = a.dim(2, x.rank());
  if (x.rank() < 2) a.error("too few dimensions", cat(x.type()), "at least 2");
  if (!(a.f(1) > 0)) a.error("the norm must be of a positive order", cat(a.f(1)), "above 0");
  if (a.is_static_number(3) && !(a.f(3) >= 0)) a.error("the largest norm may not be negative", cat(a.f(3)), "0 or more");
  Ints others;
  for (int k = 0; k < x.rank(); ++k) if (k != d) others.push_back(k);
  const Val n = vector_norm(a, x, a.f(1), others, true), most = broadcast_to(cast(a[3], n.dtype()), n.shape());
  const Val factor = select(map(Scalar::lt, most, n), most / (n + 1e-7), constant_like(n, 1));
  return {round_like(x * cast(factor, x.dtype()), a[0])};
}

// --- records

#define REDUCTION(id, schema_text, text, rule, fixed) \
  static constexpr Op op_##id{{.schema = schema_text, .doc = text, .expand = rule, .forms = Forms::out, .static_args = fixed, .sample = samples}};
#define DTYPE "ScalarType? dtype=None"
#define EACH_REDUCTION(X)                                                                                                    \
  X(sum, "sum(Tensor self, *, " DTYPE ") -> Tensor", "The sum of all elements; of integers in int64.", (sum_rule<-1, -1, 1>), 0) \
  X(sum_dims, "sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, " DTYPE ") -> Tensor", "Sums along dimensions.", (sum_rule<1, 2, 3>), 0) \
  X(mean, "mean(Tensor self, *, " DTYPE ") -> Tensor", "The mean of all elements.", (mean_rule<-1, -1, 1>), 0)               \
  X(mean_dims, "mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, " DTYPE ") -> Tensor", "Means along dimensions.", (mean_rule<1, 2, 3>), 0) \
  X(prod, "prod(Tensor self, *, " DTYPE ") -> Tensor", "The product of all elements; of integers in int64.", prod_rule<1>, 0) \
  X(prod_dim, "prod.dim_int(Tensor self, int dim, bool keepdim=False, *, " DTYPE ") -> Tensor", "Products along a dimension.", prod_dim_rule, 0) \
  X(nansum, "nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, " DTYPE ") -> Tensor", "Sums in which NaN counts as 0.", nansum_rule, 0) \
  X(nanmean, "nanmean(Tensor self, int[1]? dim=None, bool keepdim=False, *, " DTYPE ") -> Tensor", "Means of what is not NaN.", nanmean_rule, 0) \
  X(count_nonzero, "count_nonzero(Tensor self, int? dim=None) -> Tensor", "How many are not 0.", count_nonzero_rule, 0)      \
  X(count_nonzero_dims, "count_nonzero.dim_IntList(Tensor self, int[] dim) -> Tensor", "How many are not 0.", count_nonzero_rule, 0) \
  X(sum_to_size, "sum_to_size(Tensor self, SymInt[] size) -> Tensor", "Sums that undo a broadcast from this shape.", sum_to_size_rule, 0) \
  X(all, "all(Tensor self) -> Tensor", "Are all nonzero?", (test_rule<true, -1, -1>), 0)                                     \
  X(all_dim, "all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor", "Are all nonzero?", (test_rule<true, 1, 2>), 0)  \
  X(all_dims, "all.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor", "Are all nonzero?", (test_rule<true, 1, 2>), 0) \
  X(any, "any(Tensor self) -> Tensor", "Is one nonzero?", (test_rule<false, -1, -1>), 0)                                     \
  X(any_dim, "any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor", "Is one nonzero?", (test_rule<false, 1, 2>), 0)  \
  X(any_dims, "any.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor", "Is one nonzero?", (test_rule<false, 1, 2>), 0) \
  X(amax, "amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor", "The largest; ties share the gradient.", extreme_rule<true>, 0) \
  X(amin, "amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor", "The smallest; ties share the gradient.", extreme_rule<false>, 0) \
  X(max, "max(Tensor self) -> Tensor", "The largest element.", extreme_rule<true>, 0)                                        \
  X(min, "min(Tensor self) -> Tensor", "The smallest element.", extreme_rule<false>, 0)                                      \
  X(max_dim, "max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)", "The largest along a dimension and its first position.", extreme_dim_rule<true>, 0) \
  X(min_dim, "min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)", "The smallest along a dimension and its first position.", extreme_dim_rule<false>, 0) \
  X(argmax, "argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor", "The first position of the largest.", arg_extreme_rule<true>, 0) \
  X(argmin, "argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor", "The first position of the smallest.", arg_extreme_rule<false>, 0) \
  X(aminmax, "aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)", "The smallest and the largest.", aminmax_rule, 0) \
  X(logsumexp, "logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor", "log(sum(exp(self))) without overflow.", logsumexp_rule, 0) \
  X(special_logsumexp, "special_logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor", "logsumexp.", logsumexp_rule, 0) \
  X(linalg_vector_norm, "linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, " DTYPE ") -> Tensor", \
    "The p-norm of vectors; inf and -inf are the largest and the smallest, 0 counts.", linalg_vector_norm_rule, 2)           \
  X(norm, "norm.Scalar(Tensor self, Scalar p=2) -> Tensor", "The p-norm of all elements.", (norm_rule<-1, -1, -1>), 2)       \
  X(norm_dtype, "norm.ScalarOpt_dtype(Tensor self, Scalar? p, *, ScalarType dtype) -> Tensor", "The p-norm of all elements.", (norm_rule<-1, -1, 2>), 2) \
  X(norm_dims, "norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) -> Tensor", "The p-norm along dimensions.", (norm_rule<2, 3, -1>), 2) \
  X(norm_dims_dtype, "norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, *, ScalarType dtype) -> Tensor", "The p-norm along dimensions.", (norm_rule<2, 3, 4>), 2) \
  X(dist, "dist(Tensor self, Tensor other, Scalar p=2) -> Tensor", "The p-norm of the difference.", dist_rule, 4)            \
  X(renorm, "renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor", "Slices along dim, scaled down to a norm of at most maxnorm.", renorm_rule, 0xa)
EACH_REDUCTION(REDUCTION)

#define MOMENTS(name, root)                                                                                                \
  REDUCTION(name, #name "(Tensor self, bool unbiased=True) -> Tensor", #name " of all elements.", (variance_rule<0, root, false>), 0) \
  REDUCTION(name##_dim, #name ".dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",         \
            #name " along dimensions.", (variance_rule<1, root, false>), 0)                                               \
  REDUCTION(name##_correction, #name ".correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor", \
            #name " along dimensions; divides by n - correction (default 1).", (variance_rule<2, root, false>), 0)        \
  REDUCTION(name##_mean, #name "_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)", #name " and mean.", (variance_rule<0, root, true>), 0) \
  REDUCTION(name##_mean_dim, #name "_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)", \
            #name " and mean along dimensions.", (variance_rule<1, root, true>), 0)                                       \
  REDUCTION(name##_mean_correction, #name "_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)", \
            #name " and mean along dimensions.", (variance_rule<2, root, true>), 0)
MOMENTS(var, false)
MOMENTS(std, true)

// --- samples

static void samples(SampleBuilder& s) {
  s.of("sum mean prod", {"[2,3]:0.5..2", "[]", "[2,3,4]:0.5..1.5, dtype=float64"}).of("sum.dim_IntList mean.dim", {"[2,3], [1]", "[2,3,4], [0,2], True", "[2,3], None", "[4], [-1], dtype=float64"})
      .of("prod.dim_int", {"[2,3]:0.5..2, 1", "[2,3]:0.5..2, 0, True"}).of("nansum nanmean", {"[2,3]", "[2,4]=1|nan|2|0.5!, [1]", "[2,3], [0], True"})
      .of("count_nonzero", {"[2,3]:-1..1", "[2,3]:-1..1, 1"}).of("count_nonzero.dim_IntList", {"[2,3]:-1..1, [0,1]"})
      .of("sum_to_size", {"[2,3], [1,3]", "[2,3,4], [3,1]"}).refuses("sum_to_size", {"[2,3], [2,2]", "[3], [2,3]"})
      .of("all.dim any.dim", {"[2,3]:0..1, 1", "[2,3]:0..1, 0, True"}).of("all.dims any.dims", {"[2,3]:0..1, [0,1]", "[2,3]:0..1", "[2,3]:0..1, [1], True"})
      .of("amax amin", {"[2,3]:distinct, [1]", "[2,3,4]:distinct, [0,2], True", "[4]:distinct"}).of("max min", {"[2,3]:distinct", "[]"}).of("max.dim min.dim", {"[2,3]:distinct, 1", "[2,3]:distinct, 0, True", "[4]=1|3|3|2!, 0"})
      .refuses("amax amin max min", {"[0]"}).refuses("max.dim min.dim", {"[0,2], 0", "[2,3], 2"}).of("argmax argmin", {"[2,3]:distinct", "[2,3]:distinct, 1", "[2,3]:distinct, 0, True", "[4]=1|3|3|2"})
      .refuses("argmax argmin", {"[0]", "[2,3], 2"}).of("aminmax", {"[2,3]:distinct", "[2,3]:distinct, dim=1", "[2,3]:distinct, dim=0, keepdim=True"})
      .of("logsumexp special_logsumexp", {"[2,3], [1]", "[2,3,4], [0,2], True"}).of("linalg_vector_norm", {"[2,3]", "[2,3], 1, [1]", "[2,3]:distinct, inf, [0], True", "[4], 3"})
      .of("norm.Scalar", {"[2,3]", "[4], 3", "[4], 1"}).of("norm.ScalarOpt_dtype", {"[2,3], 2, dtype=float64"}).of("norm.ScalarOpt_dim", {"[2,3], 2, [1]", "[2,3], 3, [0], True"}).of("norm.ScalarOpt_dim_dtype", {"[2,3], 2, [1], False, dtype=float64"})
      .of("dist", {"[2,3], [3]", "[4], [4], 1"}).of("renorm", {"[3,4], 2, 0, 1", "[3,4], 1, 1, 2.5"}).refuses("renorm", {"[3,4], -1, 0, 1", "[3], 2, 0, 1", "[3,4], 2, 2, 1", "[3,4], 2, 0, -1"})
      .of("var std var_mean std_mean", {"[2,3]", "[5], False"}).of("var.dim std.dim var_mean.dim std_mean.dim", {"[3,4], [1]", "[3,4], [0], False, True", "[3,4], None"})
      .of("var.correction std.correction var_mean.correction std_mean.correction", {"[3,4], [1], correction=0", "[3,4], [0], correction=2, keepdim=True", "[5]"})
      .refuses("sum.dim_IntList mean.dim", {"[2,3], [2]", "[2,3], [0,0]"}).refuses("logsumexp special_logsumexp", {"[2,3], [2]", "[2,3], [0,0]"});
}

static const Op* const reduction_ops[] = {
#define LIST(id, ...) &op_##id,
#define LIST_MOMENTS(name) &op_##name, &op_##name##_dim, &op_##name##_correction, &op_##name##_mean, &op_##name##_mean_dim, &op_##name##_mean_correction
    EACH_REDUCTION(LIST) LIST_MOMENTS(var), LIST_MOMENTS(std)};
OpFamily reduction_family() { return reduction_ops; }

}  // namespace phlox
