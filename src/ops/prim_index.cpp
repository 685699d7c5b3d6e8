// Gathers and scatters.
#include "ops/checks.h"
#include "ops/element.h"
#include "ops/prims.h"

namespace phlox {

static void samples(SampleBuilder& s);

using Types = SmallVector<TensorType, 2>;
using Index = SmallVector<Sv, 6>;

static constexpr const char* scatter_modes[] = {"set", "add", "mul", "min", "max"};

// The shape of gather's result: that of the indices, then the dims of a that are not picked from.
static Dims gathered_shape(const TensorType& a, const TensorType& index, std::span<const int64_t> dims) {
  Dims shape = index.shape;
  for (int d = 0; d < a.rank(); ++d) {
    bool picked = false;
    for (int64_t x : dims) picked |= x == d;
    if (!picked) shape.push_back(a.shape[d]);
  }
  return shape;
}

// Argument 1 has an index tensor for each dim that argument `dims` lists.
static void need_indices(const Args& a, int dims) {
  const std::vector<Val> index = a.vals(1);
  need(a, !index.empty() && index.size() == need_dims(a, dims, a[0].rank()).size(), "not one index a dimension");
  for (const Val& i : index) {
    need(a, bool(i) && is_int(i.dtype()), "an index that is no integer tensor");
    need(a, may_equal(i.shape(), index[0].shape()), "indices of different shapes");
  }
}

// The index into `base` (argument 0) for a position of gather's result, scatter's values.
static Index picked_index(ElementContext& c, int dims_arg, std::span<const Sv> index) {
  const TensorType& base = c.type(0);
  const int index_rank = c.graph.type(c.node.args[1].list[0].value).rank();
  Index in;
  size_t rest = size_t(index_rank);
  for (int d = 0; d < base.rank(); ++d) {
    int k = -1;
    for (uint32_t j = 0; j < c.count(dims_arg); ++j) if (c.int_at(dims_arg, int(j)) == d) k = int(j);
    if (k < 0) in.push_back(index[rest++]);
    else in.push_back(c.loop.checked_index(c.item(1, k, index.first(size_t(index_rank))), base.shape[d]));
  }
  return in;
}

static std::vector<Val> index_vals(Vjp& v) { return v.args().vals(1); }

static constexpr Op op_gather{{
    .schema = "prim::gather(Tensor a, Tensor[] index, int[] dims) -> Tensor",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      t.weak = false;
      need_indices(a, 2);
      t.shape = gathered_shape(a[0].type(), a.vals(1)[0].type(), a.ints(2));
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) { return c.in(0, picked_index(c, 2, index)); },
    .vjp = [](Vjp& v) {
      const Val a = v.in(0);
      v.set(0, scatter(full(*a.g, a.shape(), a.dtype(), 0), index_vals(v), v.args().ints(2), v.grad(), ScatterMode::add));
    },
    .sample = samples,
}};
// Every index picks from a dimension that there is, and all have one rank.
static void check_picks(Val a, const std::vector<Val>& index, const Ints& dims) {
  bool fits = !index.empty() && index.size() == dims.size();
  for (size_t k = 0; fits && k < index.size(); ++k) fits = dims[k] >= 0 && dims[k] < a.rank() && index[k].rank() == index[0].rank();
  if (!fits)
    fail(ErrorCode::invalid_argument, {.op = "index", .fact = "the indices do not fit the tensor",
                                       .got = cat(index.size(), " indices for dimensions [", join(dims), "] of ", a.type()),
                                       .expected = "indices of one rank, for dimensions of the tensor"});
}
Val gather(Val a, const std::vector<Val>& index, const Ints& dims) {
  check_picks(a, index, dims);
  SmallVector<Arg, 6> list, d;
  for (Val i : index) list.push_back(Arg::of_value(i.id));
  for (int64_t x : dims) d.push_back(Arg::of_dim(x));
  const Arg args[] = {Arg::of_value(a.id), Arg::of_list(list), Arg::of_list(d)};
  return a.g->call(op_info(op_gather), args)[0];
}

static constexpr Conflict scatter_conflicts[] = {Conflict::last, Conflict::ordered_add, Conflict::ordered_mul,
                                                 Conflict::ordered_min, Conflict::ordered_max};

static constexpr Op op_scatter{{
    .schema = "prim::scatter(Tensor base, Tensor[] index, int[] dims, Tensor values, str mode) -> Tensor",
    .type = [](const Args& a, Types& out) {
      need_indices(a, 2);
      need(a, may_equal(a[3].shape(), gathered_shape(a[0].type(), a.vals(1)[0].type(), a.ints(2))), "values of another shape than what they replace");
      need(a, a[3].dtype() == a[0].dtype(), "values of another dtype");
      need_kind(a, 4, {"set", "add", "mul", "min", "max"});
      TensorType t = a[0].type();
      t.strides.clear();
      t.weak = false;
      out.push_back(t);
    },
    // The result buffer starts as a copy of base; only the scattered elements are written here.
    .stores = [](ElementContext& c, uint32_t out_param) {
      const Dims& shape = c.type(3).shape;
      AxisMask used = 0;
      Index index;
      for (Dim d : shape) {
        if (d.is(1)) { index.push_back(c.loop.constant_int(DType::i64, 0)); continue; }
        const int axis = c.loop.axis_for(d, used);
        used |= (AxisMask(2) << axis) - 1;
        index.push_back(c.loop.axis(axis));
      }
      AxisMask domain = 0;
      for (Sv s : index) domain |= s.axes();
      const Sv address = c.loop.linear(picked_index(c, 2, index), contiguous_strides(c.type(0).shape));
      const std::string_view mode = c.arg(4).as_string();
      Conflict conflict = Conflict::last;
      for (size_t m = 0; m < std::size(scatter_modes); ++m) if (mode == scatter_modes[m]) conflict = scatter_conflicts[m];
      c.loop.store(out_param, address, c.loop.cast(c.in(3, index), c.out().dtype), domain, conflict);
    },
    .vjp = [](Vjp& v) {
      const Val base = v.in(0), values = v.in(3), g = v.grad();
      const Ints dims = v.args().ints(2);
      const std::string_view mode = v.args().s(4);
      const std::vector<Val> index = index_vals(v);
      if (mode == "add") {
        v.set(0, g);
        if (v.needs(3)) v.set(3, gather(g, index, dims));
      } else if (mode == "set") {
        if (v.needs(0)) v.set(0, scatter(g, index, dims, full(*g.g, values.shape(), g.dtype(), 0), ScatterMode::set));
        if (v.needs(3)) v.set(3, gather(g, index, dims));
      } else if (mode == "min" || mode == "max") {
        // Whoever reached the result shares the gradient evenly, base included.
        const Val y = v.out();
        const Val base_hit = cast(map(Scalar::eq, base, y), g.dtype());
        const Val value_hit = cast(map(Scalar::eq, values, gather(y, index, dims)), g.dtype());
        const Val count = scatter(base_hit, index, dims, value_hit, ScatterMode::add);
        const Val share = map(Scalar::div, g, count);
        if (v.needs(0)) v.set(0, map(Scalar::mul, base_hit, share));
        if (v.needs(3)) v.set(3, map(Scalar::mul, value_hit, gather(share, index, dims)));
      } else {
        // The product of all others: where one factor of a place is zero, only that one has a gradient.
        const Val one = full(*g.g, {}, g.dtype(), 1), zero_base = full(*g.g, base.shape(), g.dtype(), 0);
        auto fill = [&](Val v, Val like) { return broadcast_in(v, like.shape(), {}); };
        if (v.needs(0)) v.set(0, map(Scalar::mul, g, scatter(fill(one, base), index, dims, values, ScatterMode::mul)));
        if (v.needs(3)) {
          const Val zero = map(Scalar::eq, values, full(*g.g, values.shape(), g.dtype(), 0));
          const Val safe = map(Scalar::select, zero, fill(one, values), values);
          const Val product = scatter(base, index, dims, safe, ScatterMode::mul);
          const Val zeros = gather(scatter(zero_base, index, dims, cast(zero, g.dtype()), ScatterMode::add), index, dims);
          const Val alone = map(Scalar::eq, zeros, cast(zero, g.dtype()));  // no zero but perhaps itself
          const Val others = map(Scalar::div, gather(product, index, dims), safe);
          const Val gv = map(Scalar::mul, gather(g, index, dims), others);
          v.set(3, map(Scalar::select, alone, gv, full(*g.g, values.shape(), g.dtype(), 0)));
        }
      }
    },
    .sample = samples,
}};
Val scatter(Val base, const std::vector<Val>& index, const Ints& dims, Val values, ScatterMode mode) {
  check_picks(base, index, dims);
  // Sums of bools are their disjunction, products their conjunction.
  if (is_bool(base.dtype())) mode = mode == ScatterMode::add ? ScatterMode::max : mode == ScatterMode::mul ? ScatterMode::min : mode;
  SmallVector<Arg, 6> list, d;
  for (Val i : index) list.push_back(Arg::of_value(i.id));
  for (int64_t x : dims) d.push_back(Arg::of_dim(x));
  const Arg args[] = {Arg::of_value(base.id), Arg::of_list(list), Arg::of_list(d), Arg::of_value(values.id),
                      Arg::of_string(scatter_modes[int(mode)])};
  return base.g->call(op_info(op_scatter), args)[0];
}

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::gather", {"f32[4,3], {i64[2]:-4..3}, [0]", "f64[4,3], {i64[2]:0..3, i64[2]:0..2}, [0,1]"}).of("prim::scatter", {"f32[4,3], {i64[2]=1|3}, [0], f32[2,3], 'set'", "f64[4,3], {i64[3]:0..3}, [0], f64[3,3], 'add'", "i64[4], {i64[6]:0..3}, [0], i64[6], 'max'"});
}

static const Op* const index_ops[] = {&op_gather, &op_scatter};
OpFamily index_family() { return index_ops; }

}  // namespace phlox
