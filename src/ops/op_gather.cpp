// Reading by index: gather, index_select, take, index and masks.
#include "ops/indexing.h"
#include "ops/staged.h"

namespace phlox {

static void samples(SampleBuilder& s);

Val index_values(const Args& a, int arg) {
  const Val i = a[arg];
  if (!is_int(i.dtype())) a.error(cat("'", a.op().schema.params[size_t(arg)].name, "' must hold integers"), cat(i.dtype()), "int64", "cast it with .to(int64)");
  return cast(i, DType::i64);
}

std::vector<Val> picks_along(Val index, int dim) {
  std::vector<Val> picks;
  for (int d = 0; d < index.rank(); ++d) picks.push_back(d == dim ? index : iota_like(index.shape(), d, index));
  return picks;
}

Val gather_along(Val a, int dim, Val index) {
  if (a.rank() == 0) return gather_along(reshape(a, {1}), 0, index);
  if (index.rank() == 0) return reshape(gather_along(a, dim, reshape(index, {1})), {});
  return gather(a, picks_along(index, dim), all_dims(a.rank()));
}

Val pick(Val a, int dim, Val index) {
  const Val r = gather(a, {index}, {dim});  // the index dim comes first
  Ints perm;
  for (int d = 0; d < a.rank(); ++d) perm.push_back(d == dim ? 0 : d < dim ? d + 1 : d);
  return dim == 0 ? r : permute(r, perm);
}

static constexpr Op op_index_select{{
    .schema = "index_select(Tensor self, int dim, Tensor index) -> Tensor",
    .doc = "The slices of self along dim that index names.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], index = index_values(a, 2);
      require(a, index.rank() <= 1, "index must be a vector", shape_of(index));
      const int d = a.dim(1, x.rank());
      if (x.rank() == 0) require(a, dim_eq(index.numel(), 1), "a 0-d tensor has one element", shape_of(index), "an index with one element");
      if (x.rank() == 0) return {reshape(gather(reshape(x, {1}), {reshape(index, {1})}, {0}), {})};
      return {pick(x, d, index.rank() ? index : reshape(index, {1}))};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static void check_gather(const Args& a, Val x, int dim, Val index) {
  require(a, std::max(x.rank(), 1) == std::max(index.rank(), 1), "index must have the rank of self", cat(shape_of(x), " and ", shape_of(index)));
  for (int d = 0; d < std::min(x.rank(), index.rank()); ++d)
    if (d != dim && dim_lt(x.shape()[d], index.shape()[d]))
      a.error("index reaches over self", cat(shape_of(index), " in ", shape_of(x)), "sizes that are not larger except along dim");
}
static constexpr Op op_gather{{
    .schema = "gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor",
    .doc = "Elements of self at index along dim, at each position's own place along the other dimensions.",
    .expand = [](const Args& a) -> Vals {
      const Val x = a[0], index = index_values(a, 2);
      const int d = a.dim(1, x.rank());
      if (index.numel().is(0) || (x.rank() != index.rank() && dim_eq(index.numel(), 0)))
        return {full(a.builder(), index.shape(), x.dtype(), 0)};
      check_gather(a, x, d, index);
      return {gather_along(x, d, index)};
    },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_take{{
    .schema = "take(Tensor self, Tensor index) -> Tensor",
    .doc = "Elements of self, counted as if it were one-dimensional.",
    .expand = [](const Args& a) -> Vals { return {gather(reshape(a[0], {a[0].numel()}), {index_values(a, 1)}, {0})}; },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_take_along_dim{{
    .schema = "take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor",
    .doc = "gather whose operands broadcast against each other; without dim both count as one-dimensional.",
    .expand = [](const Args& a) -> Vals {
      Val x = a[0], index = index_values(a, 1);
      if (!a.has(2)) return {gather(reshape(x, {x.numel()}), {reshape(index, {index.numel()})}, {0})};
      require(a, x.rank() == index.rank(), "indices must have the rank of self", cat(shape_of(x), " and ", shape_of(index)));
      const int d = a.dim(2, x.rank());
      Dims sx = x.shape(), si = index.shape();
      sx[d] = si[d] = 1;
      Dims both = broadcast_shapes(a.name(), sx, si);
      both[d] = index.shape()[d];
      index = broadcast_to(index, both);
      both[d] = x.shape()[d];
      return {gather_along(broadcast_to(x, both), d, index)};
    },
    .forms = Forms::out,
    .sample = samples,
}};

// --- index: tensors in some dims

namespace {
struct Advanced {
  std::vector<Val> index;  // i64, of one shape
  Ints dims;               // which dims of self they pick from
  Dims shape;              // theirs
  int at = 0;              // where their dims stand in the result
};
}  // namespace

static bool is_mask(Val v) { return is_bool(v.dtype()) || v.dtype() == DType::u8; }

static Advanced advanced_index(const Args& a, Val x, const std::vector<Val>& given) {
  Advanced r;
  if (int(given.size()) > x.rank()) a.error("more indices than dimensions", cat(given.size(), " for ", shape_of(x)));
  for (size_t d = 0; d < given.size(); ++d) {
    if (!given[d]) continue;
    if (is_mask(given[d]))
      a.error("a mask picks as many elements as it has true ones, which cannot be known here", shape_of(given[d]), "int64 indices",
              "use where, or compute the indices with nonzero outside of the traced function");
    if (!is_int(given[d].dtype())) a.error("indices must be integers", cat(given[d].dtype()), "int64");
    r.index.push_back(cast(given[d], DType::i64));
    r.dims.push_back(int64_t(d));
    r.shape = r.index.size() == 1 ? r.index[0].shape() : broadcast_shapes(a.name(), r.shape, r.index.back().shape());
  }
  if (r.index.empty()) return r;
  for (Val& i : r.index) i = broadcast_to(i, r.shape);
  // Indices side by side keep their place; otherwise their dims come first.
  const bool adjacent = r.dims.back() - r.dims[0] + 1 == int64_t(r.dims.size());
  r.at = adjacent ? int(r.dims[0]) : 0;
  return r;
}
// From the order of prim gather (index dims first) to that of the result.
static Ints result_order(const Advanced& r, int rank) {
  const int n = int(r.shape.size());
  Ints perm;
  for (int d = 0; d < rank; ++d) perm.push_back(d < r.at ? n + d : d < r.at + n ? d - r.at : d);
  return perm;
}
static Val index_of(const Args& a, Val x, const std::vector<Val>& given) {
  const Advanced r = advanced_index(a, x, given);
  if (r.index.empty()) return copy(x);
  const Val g = gather(x, r.index, r.dims);
  return r.at == 0 ? g : permute(g, result_order(r, g.rank()));
}
// Masks among the indices become the positions of their true elements, which are then counted.
static bool masks_to_positions(StagedCall& c, const char* op, int list) {
  const Arg& given = c.args[size_t(list)];
  bool any = false;
  for (const Arg& i : given.items()) any = any || (i.kind == ArgKind::value && (c.dtype(i) == DType::boolean || c.dtype(i) == DType::u8));
  if (!any) return false;
  const Ints base = c.sizes(c.args[0]);
  std::vector<Arg> index;
  for (const Arg& i : given.items()) {
    if (i.kind != ArgKind::value || (c.dtype(i) != DType::boolean && c.dtype(i) != DType::u8)) {
      index.push_back(i);
      continue;
    }
    const Ints shape = c.sizes(i);
    for (size_t d = 0; d < shape.size(); ++d) {
      const size_t at = index.size() + d;
      if (at < base.size() && shape[d] == base[at]) continue;
      fail(ErrorCode::invalid_argument, {.op = op, .fact = "a mask does not fit the tensor that it picks from",
                                         .got = cat("size ", shape[d], " at dimension ", d, " of the mask"),
                                         .expected = at < base.size() ? cat(base[at]) : "fewer dimensions"});
    }
    for (const Arg& column : c.call("nonzero_numpy", std::span(&i, 1))) index.push_back(column);
  }
  std::vector<Arg> args(c.args.begin(), c.args.end());
  args[size_t(list)] = Arg::of_list(index);
  c.results = c.call(op, args);
  return true;
}
static constexpr Op op_index{{
    .schema = "index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
    .doc = "Elements of self at the positions that index tensors name; they broadcast together.",
    .expand = [](const Args& a) -> Vals { return {index_of(a, a[0], a.vals(1))}; },
    .staged = [](StagedCall& c) { return masks_to_positions(c, "index.Tensor", 1); },
    .forms = Forms::out,
    .sample = samples,
}};
static constexpr Op op_unsafe_index{{
    .schema = "_unsafe_index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
    .doc = "Same as index.",
    .expand = [](const Args& a) -> Vals { return {index_of(a, a[0], a.vals(1))}; },
    .staged = [](StagedCall& c) { return masks_to_positions(c, "_unsafe_index.Tensor", 1); },
    .sample = samples,
}};
// Out of range where masked: such indices are moved to 0 before they are used.
static std::vector<Val> masked_indices(Val mask, const std::vector<Val>& index) {
  std::vector<Val> r;
  for (Val i : index) r.push_back(i ? where(mask, cast(i, DType::i64), full_int(*i.g, {}, DType::i64, 0)) : i);
  return r;
}
static constexpr Op op_unsafe_masked_index{{
    .schema = "_unsafe_masked_index(Tensor self, Tensor mask, Tensor?[] indices, Scalar fill) -> Tensor",
    .doc = "index where mask holds, else fill.",
    .expand = [](const Args& a) -> Vals {
      const Val r = index_of(a, a[0], masked_indices(a[1], a.vals(2)));
      return {where(a[1], r, cast_like(a[3], a[0]))};
    },
    .sample = samples,
}};

static Val put_at(const Args& a, Val x, const std::vector<Val>& given, Val values, bool accumulate) {
  if (values.dtype() != x.dtype()) a.error("values have another dtype", cat(values.dtype()), cat(x.dtype()), "cast them");
  const Advanced r = advanced_index(a, x, given);
  if (r.index.empty()) {
    const Val v = broadcast_to(values, x.shape(), a.name());
    return accumulate ? x + v : copy(v);
  }
  const Ints rest = other_dims(x.rank(), r.dims);
  Dims shape;
  for (size_t k = 0; k <= rest.size(); ++k) {
    if (int(k) == r.at) for (Dim d : r.shape) shape.push_back(d);
    if (k < rest.size()) shape.push_back(x.shape()[rest[k]]);
  }
  Val v = broadcast_to(values, shape, a.name());
  if (r.at) {
    const Ints order = result_order(r, v.rank());
    Ints back(order.size());
    for (size_t k = 0; k < order.size(); ++k) back[order[k]] = int64_t(k);
    v = permute(v, back);
  }
  return scatter(x, r.index, r.dims, v, accumulate ? ScatterMode::add : ScatterMode::set);
}
static constexpr Op op_index_put{{
    .schema = "index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor",
    .doc = "self with values written (or added) at the positions that index tensors name.",
    .expand = [](const Args& a) -> Vals { return {put_at(a, a[0], a.vals(1), a[2], a.b(3))}; },
    .staged = [](StagedCall& c) { return masks_to_positions(c, "index_put", 1); },
    .forms = Forms::both,
    .sample = samples,
}};
static constexpr Op op_unsafe_index_put{{
    .schema = "_unsafe_index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor",
    .doc = "Same as index_put.",
    .expand = [](const Args& a) -> Vals { return {put_at(a, a[0], a.vals(1), a[2], a.b(3))}; },
    .staged = [](StagedCall& c) { return masks_to_positions(c, "_unsafe_index_put", 1); },
    .sample = samples,
}};
static constexpr Op op_unsafe_masked_put{{
    .schema = "_unsafe_masked_index_put_accumulate(Tensor self, Tensor mask, Tensor?[] indices, Tensor values) -> Tensor",
    .doc = "index_put that adds the values where mask holds.",
    .expand = [](const Args& a) -> Vals {
      const Val v = where(a[1], a[3], like(a[3], 0));
      return {put_at(a, a[0], masked_indices(a[1], a.vals(2)), v, true)};
    },
    .sample = samples,
}};

// --- masks

static Val masked(const Args& a, Val value) {
  const Val x = a[0], mask = a[1];
  require(a, is_bool(mask.dtype()) || mask.dtype() == DType::u8, "mask must be bool", cat(mask.dtype()), "bool");
  const Dims shape = broadcast_shapes(a.name(), x.shape(), mask.shape());
  return where(broadcast_to(cast(mask, DType::boolean), shape), broadcast_to(cast_like(value, x), shape), broadcast_to(x, shape));
}
static constexpr Op op_masked_fill{{
    .schema = "masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor",
    .doc = "value where mask holds, else self.",
    .expand = [](const Args& a) -> Vals { return {masked(a, a[2])}; },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_masked_fill_tensor{{
    .schema = "masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor",
    .doc = "value (a tensor without dimensions) where mask holds, else self.",
    .expand = [](const Args& a) -> Vals {
      require(a, a[2].rank() == 0, "value must have no dimensions", shape_of(a[2]));
      return {masked(a, a[2])};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};
static constexpr Op op_masked_scatter{{
    .schema = "masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
    .doc = "The elements of source, in order, where mask holds, else self.",
    .expand = [](const Args& a) -> Vals {
      if (!is_bool(a[1].dtype())) a.error("the mask must be bool", cat(a[1].dtype()), "bool");
      const Dims shape = broadcast_shapes(a.name(), a[0].shape(), a[1].shape());
      const Val x = broadcast_to(a[0], shape), mask = broadcast_to(cast(a[1], DType::boolean), shape), source = a[2];
      if (source.dtype() != x.dtype()) a.error("source has another dtype", cat(source.dtype()), cat(x.dtype()), "cast it");
      const Val flat = reshape(mask, {mask.numel()});
      const Val rank = scan(cast(flat, DType::i64), 0, "sum") - 1.0;
      const Val at = where(flat, rank, full_int(a.builder(), {}, DType::i64, 0));
      return {where(mask, reshape(gather(reshape(source, {source.numel()}), {at}, {0}), shape), x)};
    },
    .forms = Forms::in_place,
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("masked_fill.Scalar", {"[2,3], bool[2,3], 1.5", "[2,3], bool[3], 2"}).of("masked_fill.Tensor", {"[2,3], bool[2,3], []"}).of("masked_scatter", {"[2,3], bool[2,3], [6]", "[2,3], bool[3], [7]"}).refuses("masked_fill.Scalar", {"[2,3], bool[4], 1", "[2,3], [2,3], 1"}).refuses("masked_fill.Tensor", {"[2,3], bool[2,3], [3]", "[2,3], [2,3], []"}).refuses("masked_scatter", {"[2,3], [2,3], [6]", "[2,3], bool[2,3]=1, [2]"})
      .of("index_select", {"[4,3], 0, i64[2]:0..3", "[4,3], 1, i32[4]:0..2"}).of("gather", {"[4,3], 0, i64[2,3]:0..3", "[4,3], 1, i64[4,2]:0..2"}).of("take", {"[4,3], i64[2,2]:-12..11"}).of("take_along_dim", {"[4,3], i64[2,3]:0..3, 0", "[4,3], i64[5]:0..11"})
      .of("index.Tensor _unsafe_index.Tensor", {"[4,3], {i64[2]:-4..3}", "[4,3,2], {None, i64[2,2]:0..2}", "[4,3], {bool[4]=1|0|1|1}", "[4,3], {i64[2]:0..3, i64[2]:0..2}"}).of("_unsafe_masked_index", {"[4,3], bool[2,1]=1|0, {i64[2]:0..3}, 0"}).of("index_put _unsafe_index_put", {"[4,3], {i64[2]=1|3}, [2,3]", "[4,3], {i64[3]=1|3|1}, [3,3], True", "[4,3], {None, i64[2]=0|2}, [2]"}).of("_unsafe_masked_index_put_accumulate", {"[4,3], bool[2,1]=1|0, {i64[2]:0..3}, [2,3]"})
      .refuses("index_select", {"[4,3], 2, i64[2]:0..2", "[4,3], 0, i64[2,2]:0..2", "[4,3], 0, i64[2]=0|7", "[4,3], 0, [2]"}).refuses("gather", {"[4,3], 0, i64[2]:0..3", "[4,3], 0, i64[2,4]:0..3", "[4,3], 0, i64[2,3]=9", "[4,3], 0, [2,3]"}).refuses("take", {"[4,3], i64[2]=99", "[4,3], [2]"}).refuses("take_along_dim", {"[4,3], i64[2,3]=9, 0", "[4,3], [2,3], 0"})
      .refuses("index.Tensor", {"[4,3], {i64[2]=9|0}", "[4,3], {[2]}", "[4,3], {i64[2]:0..1, i64[3]:0..1}", "[4,3], {bool[3]=1}", "[4], {i64[1]=0, i64[1]=0}"}).refuses("index_put", {"[4,3], {i64[2]=9|0}, [2,3]", "[4,3], {i64[2]=1|0}, [4]", "[4,3], {[2]}, [2,3]"});
}

static const Op* const gather_ops[] = {
    &op_index_select, &op_gather, &op_take, &op_take_along_dim, &op_index, &op_unsafe_index, &op_unsafe_masked_index, &op_index_put,
    &op_unsafe_index_put, &op_unsafe_masked_put, &op_masked_fill, &op_masked_fill_tensor, &op_masked_scatter};
OpFamily gather_family() { return gather_ops; }

}  // namespace phlox
