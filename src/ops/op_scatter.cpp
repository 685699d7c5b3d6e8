// Writing by index: scatter and its reductions, index_add, index_copy, index_fill, index_reduce, put.
#include <limits>

#include "ops/indexing.h"

namespace phlox {

static void samples(SampleBuilder& s);

double lowest_of(DType d) {
  switch (d) {
    case DType::boolean: case DType::u8: return 0;
    case DType::i8: return -128;
    case DType::i16: return -32768;
    case DType::i32: return -2147483648.0;
    case DType::i64: return -9223372036854775808.0;
    default: return -std::numeric_limits<double>::infinity();
  }
}
double highest_of(DType d) {
  switch (d) {
    case DType::boolean: return 1;
    case DType::u8: return 255;
    case DType::i8: return 127;
    case DType::i16: return 32767;
    case DType::i32: return 2147483647.0;
    default: return std::numeric_limits<double>::infinity();
  }
}
static Val extreme(Val v, bool high) {
  if (v.dtype() == DType::i64) {
    const Val top = full_int(*v.g, {}, DType::i64, INT64_MAX);  // the lowest number is no Dim: take the complement
    return high ? top : map(Scalar::bnot, top);
  }
  return like(v, high ? highest_of(v.dtype()) : lowest_of(v.dtype()));
}

Val scatter_along(Val base, int dim, Val index, Val values, ScatterMode mode) {
  if (base.rank() == 0) return reshape(scatter_along(reshape(base, {1}), 0, reshape(index, {index.numel()}), reshape(values, {values.numel()}), mode), {});
  return scatter(base, picks_along(index, dim), all_dims(base.rank()), values, mode);
}

Val scatter_reduce(const Args& a, Val base, const std::vector<Val>& index, const Ints& dims, Val values, std::string_view how,
                   bool include_self) {
  ScatterMode mode = ScatterMode::add;
  Val identity = like(base, 0);
  if (how == "prod" || how == "multiply") {
    mode = ScatterMode::mul;
    identity = like(base, 1);
  } else if (how == "amax" || how == "amin") {
    mode = how == "amax" ? ScatterMode::max : ScatterMode::min;
    identity = extreme(base, how == "amin");
  } else {
    require(a, how == "sum" || how == "add" || how == "mean", "unknown reduction", std::string(how), "sum, prod, mean, amax or amin");
  }
  const Val one = fill_like(values, 1);
  if (!include_self) base = scatter(base, index, dims, broadcast_to(identity, values.shape()), ScatterMode::set);
  const Val r = scatter(base, index, dims, values, mode);
  if (how != "mean") return r;
  const Val own = include_self ? fill_like(base, 1) : fill_like(base, 0);
  const Val count = maximum(scatter(own, index, dims, one, ScatterMode::add), like(base, 1));
  return is_float(base.dtype()) ? r / count : map(Scalar::floordiv, r, count);
}

// --- self, dim, index, src: elementwise along dim

namespace {
struct Along { Val base, index, values; int dim; };
}  // namespace

static Along along_of(const Args& a, Val src) {
  Along r{a[0], index_values(a, 2), src, a.dim(1, a[0].rank())};
  if (r.base.rank() == 0) r.base = reshape(r.base, {1});
  if (r.index.rank() == 0) r.index = reshape(r.index, {1});
  if (src.rank() == 0 && a.raw(3).kind == ArgKind::value && !src.type().weak) r.values = reshape(src, {1});
  require(a, r.index.rank() == r.base.rank() || dim_eq(r.index.numel(), 0), "index must have the rank of self", cat(shape_of(a[2]), " in ", shape_of(a[0])));
  if (src.dtype() != r.base.dtype()) a.error("src has another dtype", cat(src.dtype()), cat(r.base.dtype()), "cast it");
  for (int d = 0; d < r.index.rank() && r.index.rank() == r.base.rank(); ++d)
    if (d != r.dim && dim_lt(r.base.shape()[d], r.index.shape()[d]))
      a.error("index reaches over self", cat(shape_of(a[2]), " in ", shape_of(a[0])), "sizes that are not larger except along dim");
  return r;
}
// The part of src that index covers.
static Val covered(const Args& a, const Along& r) {
  Val v = r.values;
  require(a, v.rank() == r.index.rank(), "src must have the rank of index", cat(shape_of(v), " and ", shape_of(r.index)));
  for (int d = 0; d < v.rank(); ++d) {
    if (dim_lt(v.shape()[d], r.index.shape()[d])) a.error("index is larger than src", cat(shape_of(r.index), " and ", shape_of(v)), "an index within src");
    v = slice(v, d, 0, r.index.shape()[d]);
  }
  return v;
}
static Vals finish(const Args& a, Val r) { return {reshape(r, a[0].shape())}; }

static Vals scatter_src(const Args& a, std::string_view how, bool include_self) {
  const Along r = along_of(a, a[3]);
  if (r.index.numel().is(0) || r.index.rank() != r.base.rank()) return {copy(a[0])};
  const Val values = covered(a, r);
  const std::vector<Val> index = picks_along(r.index, r.dim);
  const Ints all = all_dims(r.base.rank());
  if (how.empty()) return finish(a, scatter(r.base, index, all, values, ScatterMode::set));
  return finish(a, scatter_reduce(a, r.base, index, all, values, how, include_self));
}
static Vals scatter_value(const Args& a, std::string_view how) {
  const Along r = along_of(a, cast_like(a[3], a[0]));
  if (r.index.numel().is(0) || r.index.rank() != r.base.rank()) return {copy(a[0])};
  const Val values = broadcast_to(r.values, r.index.shape());
  const std::vector<Val> index = picks_along(r.index, r.dim);
  const Ints all = all_dims(r.base.rank());
  if (how.empty()) return finish(a, scatter(r.base, index, all, values, ScatterMode::set));
  return finish(a, scatter_reduce(a, r.base, index, all, values, how, true));
}

static constexpr Op op_scatter{{
    .schema = "scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    .doc = "self with src written at index along dim; the last of several writes to one place stays.",
    .expand = [](const Args& a) { return scatter_src(a, {}, true); },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_scatter_value{{
    .schema = "scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    .doc = "self with value written at index along dim.",
    .expand = [](const Args& a) { return scatter_value(a, {}); },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_scatter_reduce_src{{
    .schema = "scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str reduce) -> Tensor",
    .doc = "self with src added ('add') or multiplied ('multiply') in at index along dim.",
    .expand = [](const Args& a) { return scatter_src(a, a.s(4), true); },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_scatter_reduce_value{{
    .schema = "scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, str reduce) -> Tensor",
    .doc = "self with value added ('add') or multiplied ('multiply') in at index along dim.",
    .expand = [](const Args& a) { return scatter_value(a, a.s(4)); },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_scatter_add{{
    .schema = "scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    .doc = "self with src added in at index along dim, in order.",
    .expand = [](const Args& a) { return scatter_src(a, "add", true); },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_scatter_reduce{{
    .schema = "scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True) -> Tensor",
    .doc = "src reduced into self at index along dim: sum, prod, mean, amax or amin; without include_self the old values do not count.",
    .expand = [](const Args& a) { return scatter_src(a, a.s(4), a.b(5)); },
    .forms = Forms::both,
    .sample = samples,
}};

// --- self, dim, index (a vector), source: whole slices along dim

namespace {
struct Slices { Val base, index, values; int dim; };
}  // namespace
static Slices slices_of(const Args& a, Val source) {
  Slices r{a[0], index_values(a, 2), source, a.dim(1, a[0].rank())};
  require(a, r.index.rank() <= 1, "index must be a vector", shape_of(r.index));
  if (source.dtype() != r.base.dtype()) a.error("source has another dtype", cat(source.dtype()), cat(r.base.dtype()), "cast it");
  if (r.base.rank() == 0) r.base = reshape(r.base, {1});
  if (r.index.rank() == 0) r.index = reshape(r.index, {1});
  if (r.values.rank() == 0 && r.base.rank() == 1) r.values = reshape(r.values, {1});
  Dims want = r.base.shape();
  want[r.dim] = r.index.size(0);
  bool fits = r.values.rank() == r.base.rank();
  for (int d = 0; fits && d < r.base.rank(); ++d) fits = dim_eq(want[d], r.values.shape()[d]);
  require(a, fits, "source does not fit", shape_of(source), shape_text(want));
  // Prim scatter wants the index dim first.
  Ints perm{r.dim};
  for (int d = 0; d < r.base.rank(); ++d) if (d != r.dim) perm.push_back(d);
  r.values = permute(r.values, perm);
  return r;
}
static constexpr Op op_index_add{{
    .schema = "index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor",
    .doc = "self with alpha * source added to the slices along dim that index names.",
    .expand = [](const Args& a) -> Vals {
      const Slices r = slices_of(a, a[3]);
      return finish(a, scatter(r.base, {r.index}, {r.dim}, cast_like(r.values * a[4], r.values), ScatterMode::add));
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_index_copy{{
    .schema = "index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
    .doc = "self with the slices along dim that index names replaced by those of source.",
    .expand = [](const Args& a) -> Vals {
      const Slices r = slices_of(a, a[3]);
      return finish(a, scatter(r.base, {r.index}, {r.dim}, r.values, ScatterMode::set));
    },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_index_reduce{{
    .schema = "index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *, bool include_self=True) -> Tensor",
    .doc = "The slices of source reduced into those of self that index names: prod, mean, amax or amin.",
    .expand = [](const Args& a) -> Vals {
      const Slices r = slices_of(a, a[3]);
      return finish(a, scatter_reduce(a, r.base, {r.index}, {r.dim}, r.values, a.s(4), a.b(5)));
    },
    .forms = Forms::both,
    .sample = samples,
}};
// By a mask of the dimension, so that a place that index names twice counts once in the gradient of value.
static Vals index_fill(const Args& a, Val value) {
  const Val x = a[0], base = x.rank() ? x : reshape(x, {1}), index = index_values(a, 2);
  const int dim = a.dim(1, x.rank());
  const Val i = index.rank() ? index : reshape(index, {1});
  require(a, value.rank() == 0, "value must have no dimensions", shape_of(value));
  const Val none = full_int(a.builder(), {base.shape()[dim]}, DType::boolean, 0);
  const Val named = scatter(none, {i}, {0}, full_int(a.builder(), i.shape(), DType::boolean, 1), ScatterMode::set);
  return finish(a, where(along(named, base.rank(), dim), broadcast_to(cast_like(value, x), base.shape()), base));
}
static constexpr Op op_index_fill{{
    .schema = "index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    .doc = "self with value in the slices along dim that index names.",
    .expand = [](const Args& a) { return index_fill(a, a[3]); },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_index_fill_tensor{{
    .schema = "index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
    .doc = "self with value (a tensor without dimensions) in the slices along dim that index names.",
    .expand = [](const Args& a) { return index_fill(a, a[3]); },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_put{{
    .schema = "put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
    .doc = "self with source written (or added) at index, counted as if self were one-dimensional.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], index = index_values(a, 1), source = a[2];
      if (source.dtype() != x.dtype()) a.error("source has another dtype", cat(source.dtype()), cat(x.dtype()), "cast it");
      require(a, dim_eq(index.numel(), source.numel()), "index and source have different sizes", cat(shape_of(index), " and ", shape_of(source)));
      const Dim n = index.numel();
      return finish(a, scatter(reshape(x, {x.numel()}), {reshape(index, {n})}, {0}, reshape(source, {n}), a.b(3) ? ScatterMode::add : ScatterMode::set));
    },
    .forms = Forms::in_place,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("scatter.src", {"[4,3], 0, i64[2,3]=0|1|2|3|3|0, [2,3]", "[3,4], 1, i64[3,2]=0|1|2|3|1|0, [3,2]"}).of("scatter_add", {"[4,3], 0, i64[2,3]:0..3, [2,3]", "[3,4], 1, i64[3,2]:0..3, [3,2]"}).of("scatter.value", {"[4,3], 0, i64[2,3]:0..3, 1.5"}).of("scatter.reduce", {"[4,3], 0, i64[2,3]:0..3, [2,3], reduce='add'", "[4,3], 0, i64[2,3]=0|1|2|3|3|0, [2,3], reduce='multiply'"}).of("scatter.value_reduce", {"[4,3], 0, i64[2,3]:0..3, 2, reduce='add'", "[4,3], 0, i64[2,3]:0..3, 2, reduce='multiply'"})
      .of("scatter_reduce.two", {"[4,3], 0, i64[2,3]:0..3, [2,3], 'sum'", "[4,3], 0, i64[2,3]:0..3, [2,3]:0.5..2, 'prod'", "[4,3], 0, i64[2,3]:0..3, [2,3], 'amax', include_self=False", "[4,3], 0, i64[2,3]:0..3, [2,3], 'mean'", "[4,3], 0, i64[2,3]:0..3, [2,3], 'amin'"}).of("index_add", {"[4,3], 0, i64[2]:0..3, [2,3]", "[4,3], 1, i64[2]:0..2, [4,2], alpha=2"}).of("index_copy", {"[4,3], 0, i64[2]=1|3, [2,3]"})
      .of("index_reduce", {"[4,3], 0, i64[2]=1|3, [2,3]:0.5..2, 'prod'", "[4,3], 0, i64[2]:0..3, [2,3], 'amax'", "[4,3], 0, i64[2]:0..3, [2,3], 'mean', include_self=False"}).of("index_fill.int_Scalar", {"[4,3], 0, i64[2]:0..3, 1.5"}).of("index_fill.int_Tensor", {"[4,3], 1, i64[2]:0..2, []"}).of("put", {"[4,3], i64[3]=0|5|7, [3]", "[4,3], i64[3]=0|5|0, [3], True"})
      .refuses("scatter.src scatter_add", {"[4,3], 0, i64[2,3]=9, [2,3]", "[4,3], 2, i64[2,3]:0..2, [2,3]", "[4,3], 0, i64[2]:0..3, [2,3]", "[4,3], 0, i64[2,3]:0..3, [1,3]", "[4,3], 0, [2,3], [2,3]"}).refuses("scatter.value", {"[4,3], 0, i64[2,3]=9, 1", "[4,3], 2, i64[2,3]:0..2, 1"}).refuses("scatter.reduce", {"[4,3], 0, i64[2,3]:0..3, [2,3], reduce='best'"}).refuses("scatter.value_reduce", {"[4,3], 0, i64[2,3]:0..3, 2, reduce='best'"}).refuses("scatter_reduce.two", {"[4,3], 0, i64[2,3]:0..3, [2,3], 'best'", "[4,3], 0, i64[2,3]=9, [2,3], 'sum'"})
      .refuses("index_add index_copy", {"[4,3], 0, i64[2]=1|9, [2,3]", "[4,3], 2, i64[2]:0..1, [2,3]", "[4,3], 0, i64[2]:0..3, [3,3]", "[4,3], 0, i64[2,2]:0..3, [2,3]"}).refuses("index_reduce", {"[4,3], 0, i64[2]:0..3, [2,3], 'best'"}).refuses("index_fill.int_Scalar", {"[4,3], 0, i64[2]=9, 1", "[4,3], 2, i64[2]:0..2, 1"}).refuses("index_fill.int_Tensor", {"[4,3], 0, i64[2]=9, []", "[4,3], 0, i64[2]:0..2, [2]"}).refuses("put", {"[4,3], i64[3]=99, [3]", "[4,3], i64[3]:0..3, [2]", "[4,3], [3], [3]"})
      .no_gradients("scatter.value_reduce");
}

static const Op* const scatter_ops[] = {
    &op_scatter, &op_scatter_value, &op_scatter_reduce_src, &op_scatter_reduce_value, &op_scatter_add, &op_scatter_reduce, &op_index_add,
    &op_index_copy, &op_index_reduce, &op_index_fill, &op_index_fill_tensor, &op_put};
OpFamily scatter_family() { return scatter_ops; }

}  // namespace phlox
