// Reductions and scans.
#include <algorithm>

#include "ops/checks.h"
#include "ops/complex.h"
#include "ops/element.h"
#include "ops/prims.h"

namespace phlox {

static void samples(SampleBuilder& s);

using Types = SmallVector<TensorType, 2>;
using Index = SmallVector<Sv, 6>;

static Combine combine_of(std::string_view kind) {
  if (kind == "sum") return Combine::add;
  if (kind == "prod") return Combine::mul;
  if (kind == "min") return Combine::min;
  if (kind == "max") return Combine::max;
  if (kind == "and") return Combine::band;
  PHLOX_CHECK(kind == "or", "reduction kind ", kind);
  return Combine::bor;
}

// The gradient that flows to the elements which reached the extreme value; ties share it evenly, as in ATen's amax.
static Val to_extremes(Val x, Val y, Val g, const Ints& dims) {
  Dims kept = x.shape();
  for (int64_t d : dims) kept[d] = 1;
  Ints all;
  for (int d = 0; d < x.rank(); ++d) all.push_back(d);
  auto spread = [&](Val v) { return broadcast_in(reshape(v, kept), x.shape(), all); };
  const Val hit = cast(map(Scalar::eq, x, spread(y)), x.dtype());
  const Val share = map(Scalar::div, g, sum(hit, dims));
  return map(Scalar::mul, hit, spread(share));
}

static constexpr Op op_reduce{{
    .schema = "prim::reduce(Tensor a, int[] dims, str kind) -> Tensor",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      t.weak = false;
      const Ints dims = need_dims(a, 1, t.rank());
      need_kind(a, 2, {"sum", "prod", "min", "max", "and", "or"});
      Dims shape;
      for (int d = 0; d < t.rank(); ++d) {
        bool gone = false;
        for (int64_t x : dims) gone |= x == d;
        if (!gone) shape.push_back(t.shape[d]);
      }
      t.shape = shape;
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const TensorType& t = c.type(0);
      AxisMask used = c.used(index), reduced = 0;
      Index in;
      size_t k = 0;
      for (int d = 0; d < t.rank(); ++d) {
        if (!c.lists(1, d)) { in.push_back(index[k++]); continue; }
        if (t.shape[d].is(1)) { in.push_back(c.loop.constant_int(DType::i64, 0)); continue; }
        // Later dims get higher axis numbers: the order of a reduction is that of its axis numbers.
        const int axis = c.loop.axis_for(t.shape[d], used);
        used |= (AxisMask(2) << axis) - 1;
        reduced |= AxisMask(1) << axis;
        in.push_back(c.loop.axis(axis));
      }
      const Order order = c.lists(1, t.rank() - 1) ? Order::tree32 : Order::tree1;
      return c.loop.reduce(combine_of(c.arg(2).as_string()), order, c.in(0, in), reduced);
    },
    .vjp = [](Vjp& v) {
      const Val x = v.in(0), g = v.grad();
      const Ints dims = v.args().ints(1);
      const std::string_view kind = v.args().s(2);
      Ints kept;
      for (int d = 0; d < x.rank(); ++d) {
        bool gone = false;
        for (int64_t r : dims) gone |= r == d;
        if (!gone) kept.push_back(d);
      }
      if (kind == "sum") v.set(0, broadcast_in(g, x.shape(), kept));
      else if (kind == "min" || kind == "max") v.set(0, to_extremes(x, v.out(), g, dims));
      else if (kind == "prod") {
        // prod / x, but exact where x has zeros: the product of the others, as prefix times suffix products, over all the
        // reduced dims as one at the end.
        Ints order = kept, back(size_t(x.rank()));
        order.append(dims.begin(), dims.end());
        for (size_t k = 0; k < order.size(); ++k) back[size_t(order[k])] = int64_t(k);
        Dims moved, flat;
        Dim points = 1;
        for (int64_t d : order) moved.push_back(x.shape()[d]);
        for (int64_t d : kept) flat.push_back(x.shape()[d]);
        for (int64_t d : dims) points = points * x.shape()[d];
        flat.push_back(points);
        const int d = int(kept.size());
        if (dim_eq(points, 0)) { v.set(0, broadcast_in(g, x.shape(), kept)); return; }  // no element, no gradient
        const Val rows = dims.size() == 1 && dims[0] == d ? x : reshape(permute(x, order), flat);
        auto exclusive = [&](Val t) {  // products of all earlier elements: scan of [1, x0, x1, ...] without its last
          if (t.shape()[d].is(0)) return t;
          const Dims one = [&] { Dims s = t.shape(); s[d] = 1; return s; }();
          const Val shifted = concat({full(*t.g, one, t.dtype(), 1), slice(t, d, 0, t.shape()[d] - 1)}, d);
          return scan(shifted, d, "prod");
        };
        const Val products = map(Scalar::mul, exclusive(rows), flip(exclusive(flip(rows, d)), d));
        const Val others = permute(reshape(products, moved), back);
        v.set(0, map(Scalar::mul, broadcast_in(g, x.shape(), kept), conj(others)));
      }
    },
    .sample = samples,
}};

// Complex products are made of as many steps as the length asks for (ops/complex.cpp). The guard must stand before the
// graph is compiled: programs are kept by the guards of their graph.
static void fix_length(Val a, int64_t d, std::string_view kind) {
  if (kind == "prod" && is_complex(a.dtype())) dim_int(a.size(int(d)), "prod");
}

Val reduce(Val a, Ints dims, std::string_view kind, bool keepdim) {
  Dims kept = a.shape();
  for (int64_t& d : dims) { d = wrap_dim(d, a.rank(), "reduce"); kept[d] = 1; }
  Val r = a;
  if (!dims.empty() && a.rank() > 0) {
    // A product over several dims goes one dim at a time, which its gradient needs.
    if (kind == "prod" && dims.size() > 1) {
      std::sort(dims.begin(), dims.end());
      while (!dims.empty()) { r = reduce(r, {dims.back()}, kind); dims.pop_back(); }
    } else {
      fix_length(a, dims[0], kind);
      SmallVector<Arg, 6> list;
      for (int64_t d : dims) list.push_back(Arg::of_dim(d));
      const Arg args[] = {Arg::of_value(a.id), Arg::of_list(list), Arg::of_string(kind)};
      r = a.g->call(op_info(op_reduce), args)[0];
    }
  }
  return keepdim ? reshape(r, kept) : r;
}

static constexpr Op op_scan{{
    .schema = "prim::scan(Tensor a, int dim, str kind) -> Tensor",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      need_dim(a, 1, t.rank());
      need_kind(a, 2, {"sum", "prod", "min", "max", "and", "or"});
      t.strides.clear();
      t.weak = false;
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      // A scan runs along a whole axis: the index along it must be that axis itself (compile/ materialises scans that
      // are read otherwise).
      const Sv at = index[size_t(c.integer(1))];
      const Inst i = c.loop.inst(at);  // a copy: c.in() below adds instructions
      if (i.op == Scalar::constant) return c.in(0, index);  // along a size of 1
      PHLOX_CHECK(i.op == Scalar::axis, "a scan is read at positions that are not its axis");
      return c.loop.scan(combine_of(c.arg(2).as_string()), c.in(0, index), int(i.imm));
    },
    .vjp = [](Vjp& v) {
      const Val g = v.grad();
      const int d = int(v.args().i(1));
      const std::string_view kind = v.args().s(2);
      auto suffix_sum = [&](Val t) { return flip(scan(flip(t, d), d, "sum"), d); };
      if (kind == "sum") { v.set(0, suffix_sum(g)); return; }
      PHLOX_CHECK(kind == "prod", "gradient of a running ", kind);
      // Up to the first zero the later products divide by x; at it they are the products without it; behind it, 0.
      const Val x = v.in(0), zero = full(*x.g, x.shape(), x.dtype(), 0), one = full(*x.g, x.shape(), x.dtype(), 1);
      const Val is_zero = map(Scalar::eq, x, zero);
      const Val seen = scan(cast(is_zero, DType::i64), d, "sum"), one_seen = full_int(*x.g, x.shape(), DType::i64, 1);
      const Val first = map(Scalar::band, is_zero, map(Scalar::eq, seen, one_seen));
      const Val without = map(Scalar::select, first, one, x);
      const Val before = map(Scalar::div, suffix_sum(map(Scalar::mul, g, conj(v.out()))), conj(map(Scalar::select, is_zero, one, x)));
      const Val at_first = suffix_sum(map(Scalar::mul, g, conj(scan(without, d, "prod"))));
      const Val behind = map(Scalar::le, one_seen, seen);
      v.set(0, map(Scalar::select, first, at_first, map(Scalar::select, behind, zero, before)));
    },
    .sample = samples,
}};
Val scan(Val a, int dim, std::string_view kind) {
  if (a.rank() == 0) return a;
  fix_length(a, wrap_dim(dim, a.rank(), "scan"), kind);
  const Arg args[] = {Arg::of_value(a.id), Arg::of_dim(wrap_dim(dim, a.rank(), "scan")), Arg::of_string(kind)};
  return a.g->call(op_info(op_scan), args)[0];
}

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::reduce", {"f32[2,3], [1], 'sum'", "f64[2,3,4], [0,2], 'prod'", "f32[2,3]:distinct, [0], 'max'", "i64[2,3], [0,1], 'sum'", "bool[2,3], [1], 'and'", "f16[4,5]:distinct, [0,1], 'min'"}).of("prim::scan", {"f32[2,5], 1, 'sum'", "f64[3,2]:0.5..2, 0, 'prod'", "i64[5], 0, 'max'"}).no_gradients("prim::scan");
}

static const Op* const reduce_ops[] = {&op_reduce, &op_scan};
OpFamily reduce_family() { return reduce_ops; }

}  // namespace phlox
