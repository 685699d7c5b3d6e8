// Contractions: sums of products over paired dimensions, and convolutions.
#include "ops/checks.h"
#include "ops/complex.h"
#include "ops/element.h"
#include "ops/prims.h"

namespace phlox {

static void samples(SampleBuilder& s);

using Types = SmallVector<TensorType, 2>;
using Index = SmallVector<Sv, 6>;

static bool in_list(std::span<const int64_t> l, int64_t v) {
  for (int64_t x : l) if (x == v) return true;
  return false;
}
static Ints free_dims(int rank, const Ints& batch, const Ints& summed) {
  Ints f;
  for (int d = 0; d < rank; ++d) if (!in_list(batch, d) && !in_list(summed, d)) f.push_back(d);
  return f;
}
static Ints ints_at(ElementContext& c, int i) {
  Ints r;
  for (const Arg& a : c.arg(i).items()) r.push_back(a.as_dim().value());
  return r;
}

static void need_pairs(const Args& a) {
  const Ints ba = need_dims(a, 2, a[0].rank()), bb = need_dims(a, 3, a[1].rank());
  const Ints sa = need_dims(a, 4, a[0].rank()), sb = need_dims(a, 5, a[1].rank());
  need(a, ba.size() == bb.size() && sa.size() == sb.size(), "dimensions that do not pair");
  for (size_t i = 0; i < ba.size(); ++i) need(a, may_equal(a[0].shape()[ba[i]], a[1].shape()[bb[i]]), "paired dimensions of different sizes");
  for (size_t i = 0; i < sa.size(); ++i) {
    need(a, may_equal(a[0].shape()[sa[i]], a[1].shape()[sb[i]]), "paired dimensions of different sizes");
    need(a, !in_list(ba, sa[i]) && !in_list(bb, sb[i]), "a dimension that is named twice");
  }
}

static constexpr Op op_contract{{
    .schema = "prim::contract(Tensor a, Tensor b, int[] batch_a, int[] batch_b, int[] sum_a, int[] sum_b, bool unrounded=False) -> Tensor",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      t.weak = false;
      need_pairs(a);
      Dims shape;
      for (int64_t d : a.ints(2)) shape.push_back(a[0].shape()[d]);
      for (int64_t d : free_dims(a[0].rank(), a.ints(2), a.ints(4))) shape.push_back(a[0].shape()[d]);
      for (int64_t d : free_dims(a[1].rank(), a.ints(3), a.ints(5))) shape.push_back(a[1].shape()[d]);
      t.shape = shape;
      if (a.b(6)) t.dtype = compute_dtype(t.dtype);
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const Ints ba = ints_at(c, 2), bb = ints_at(c, 3), sa = ints_at(c, 4), sb = ints_at(c, 5);
      const TensorType &ta = c.type(0), &tb = c.type(1);
      Index ia(size_t(ta.rank())), ib(size_t(tb.rank()));
      size_t k = 0;
      for (size_t j = 0; j < ba.size(); ++j, ++k) ia[ba[j]] = ib[bb[j]] = index[k];
      for (int64_t d : free_dims(ta.rank(), ba, sa)) ia[d] = index[k++];
      for (int64_t d : free_dims(tb.rank(), bb, sb)) ib[d] = index[k++];
      AxisMask used = c.used(index), reduced = 0;
      for (size_t j = 0; j < sa.size(); ++j) {
        const Dim n = ta.shape[sa[j]];
        if (n.is(1)) { ia[sa[j]] = ib[sb[j]] = c.loop.constant_int(DType::i64, 0); continue; }
        const int axis = c.loop.axis_for(n, used);
        used |= (AxisMask(2) << axis) - 1;
        reduced |= AxisMask(1) << axis;
        ia[sa[j]] = ib[sb[j]] = c.loop.axis(axis);
      }
      const Sv product = c.in(0, ia) * c.in(1, ib);
      return c.loop.reduce(Combine::add, Order::chain, product, reduced);
    },
    .vjp = [](Vjp& v) {
      const Val a = v.in(0), b = v.in(1), g = cast(v.grad(), a.dtype());
      const Ints ba = v.args().ints(2), bb = v.args().ints(3), sa = v.args().ints(4), sb = v.args().ints(5);
      const Ints fa = free_dims(a.rank(), ba, sa), fb = free_dims(b.rank(), bb, sb);
      // g has dims: batch, fa, fb.
      Ints gb, gfa, gfb;
      for (size_t i = 0; i < ba.size(); ++i) gb.push_back(int64_t(i));
      for (size_t i = 0; i < fa.size(); ++i) gfa.push_back(int64_t(ba.size() + i));
      for (size_t i = 0; i < fb.size(); ++i) gfb.push_back(int64_t(ba.size() + fa.size() + i));
      // The contraction leaves dims in the order batch, free of the first, free of the second; permute them home.
      auto home = [](Val r, std::span<const int64_t> batch, std::span<const int64_t> first, std::span<const int64_t> second) {
        Ints at(size_t(r.rank()));
        int64_t k = 0;
        for (int64_t d : batch) at[d] = k++;
        for (int64_t d : first) at[d] = k++;
        for (int64_t d : second) at[d] = k++;
        return permute(r, at);
      };
      if (v.needs(0)) {
        // Free dims of b come in increasing order while sa pairs with sb: sort the pairs by sb.
        Ints sorted;
        for (int64_t d : free_dims(b.rank(), bb, fb)) for (size_t j = 0; j < sb.size(); ++j) if (sb[j] == d) sorted.push_back(sa[j]);
        v.set(0, home(contract(g, conj(b), gb, bb, gfb, fb), ba, fa, sorted));
      }
      if (v.needs(1)) {
        Ints sorted;
        for (int64_t d : free_dims(a.rank(), ba, fa)) for (size_t j = 0; j < sa.size(); ++j) if (sa[j] == d) sorted.push_back(sb[j]);
        v.set(1, home(contract(conj(a), g, ba, gb, fa, gfa), bb, sorted, fb));
      }
    },
    .sample = samples,
}};

Val contract(Val a, Val b, const Ints& batch_a, const Ints& batch_b, const Ints& sum_a, const Ints& sum_b, bool unrounded) {
  SmallVector<Arg, 6> l[4];
  const Ints* lists[4] = {&batch_a, &batch_b, &sum_a, &sum_b};
  SmallVector<Arg, 6> args{Arg::of_value(a.id), Arg::of_value(b.id)};
  for (int i = 0; i < 4; ++i) {
    for (int64_t x : *lists[i]) l[i].push_back(Arg::of_dim(x));
    args.push_back(Arg::of_list(l[i]));
  }
  args.push_back(Arg::of_bool(unrounded));
  return a.g->call(op_info(op_contract), args)[0];
}

// --- convolution

static Dim conv_length(Dim n, Dim k, int64_t stride, int64_t low, int64_t high, int64_t lhs, int64_t rhs) {
  const Dim dilated = (n - 1) * lhs + 1, window = (k - 1) * rhs + 1;
  return floordiv(dilated + low + high - window, stride) + 1;
}

// The positions of x that meet weight position k at output position o, all in one: o * stride + k * rhs - low.
static constexpr Op op_conv{{
    .schema = "prim::conv(Tensor x, Tensor w, int[] stride, int[] pad_low, int[] pad_high, int[] lhs_dilation, "
              "int[] rhs_dilation, int groups, bool unrounded=False) -> Tensor",
    .type = [](const Args& a, Types& out) {
      TensorType t = a[0].type();
      t.strides.clear();
      t.weak = false;
      const Ints stride = a.ints(2), low = a.ints(3), high = a.ints(4), lhs = a.ints(5), rhs = a.ints(6);
      const size_t n = stride.size();
      need(a, size_t(a[0].rank()) == n + 2 && size_t(a[1].rank()) == n + 2, "tensors of another rank");
      need(a, low.size() == n && high.size() == n && lhs.size() == n && rhs.size() == n, "not one number a dimension");
      for (size_t s = 0; s < n; ++s) need(a, stride[s] > 0 && lhs[s] > 0 && rhs[s] > 0, "a step that is not positive");
      need(a, a.i(7) > 0, "no groups");
      need(a, may_equal(a[1].shape()[1] * a.i(7), a[0].shape()[1]), "channels that do not fit the weight");
      Dims shape{a[0].shape()[0], a[1].shape()[0]};
      for (size_t s = 0; s < stride.size(); ++s)
        shape.push_back(conv_length(a[0].shape()[s + 2], a[1].shape()[s + 2], stride[s], low[s], high[s], lhs[s], rhs[s]));
      t.shape = shape;
      if (a.b(8)) t.dtype = compute_dtype(t.dtype);
      out.push_back(t);
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      LoopBuilder& b = c.loop;
      const TensorType &x = c.type(0), &w = c.type(1);
      const int64_t groups = c.integer(7);
      AxisMask used = c.used(index), reduced = 0;
      auto sum_axis = [&](Dim n) {
        if (n.is(1)) return b.constant_int(DType::i64, 0);
        const int axis = b.axis_for(n, used);
        used |= (AxisMask(2) << axis) - 1;
        reduced |= AxisMask(1) << axis;
        return b.axis(axis);
      };
      const Sv channel = sum_axis(w.shape[1]);
      Index xi{index[0], channel}, wi{index[1], channel};
      if (groups > 1) {
        const Sv group = b.index_div(index[1], floordiv(w.shape[0], groups));
        xi[1] = b.index_add(b.index_mul(group, w.shape[1]), channel);
      }
      Sv inside = b.constant_int(DType::boolean, 1);
      for (size_t s = 0; s + 2 < size_t(x.rank()); ++s) {
        const int k = int(s);
        const Sv tap = sum_axis(w.shape[s + 2]);
        Sv p = b.index_add(b.index_mul(index[s + 2], c.int_at(2, k)), b.index_mul(tap, c.int_at(6, k)));
        p = b.index_add(p, b.constant_int(DType::i64, -c.int_at(3, k)));
        const int64_t lhs = c.int_at(5, k);
        inside = inside & b.in_bounds(p, (x.shape[s + 2] - 1) * lhs + 1);
        if (lhs != 1) {
          inside = inside & b.op(Scalar::eq, b.index_mod(p, lhs), b.constant_int(DType::i64, 0));
          p = b.index_div(p, lhs);
        }
        xi.push_back(p);
        wi.push_back(tap);
      }
      return b.reduce(Combine::add, Order::chain, c.in(0, xi, inside) * c.in(1, wi), reduced);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Val x = v.in(0), w = v.in(1), g = cast(v.grad(), x.dtype());
      const ConvParams p{a.ints(2), a.ints(3), a.ints(4), a.ints(5), a.ints(6), a.i(7)};
      const size_t n = p.stride.size();
      const Dim in_per_group = w.shape()[1], out_per_group = floordiv(w.shape()[0], p.groups);
      auto spatial = [](Val t, size_t s) { return dim_int(t.shape()[s + 2], "convolution gradient"); };
      if (v.needs(0)) {
        // Each group's weights turned around in space and transposed between in and out channels.
        Dims split{Dim(p.groups), out_per_group, in_per_group}, joined{in_per_group * p.groups, out_per_group};
        Ints swap{0, 2, 1};
        for (size_t s = 0; s < n; ++s) {
          split.push_back(w.shape()[s + 2]);
          joined.push_back(w.shape()[s + 2]);
          swap.push_back(int64_t(s) + 3);
        }
        Val wt = conj(reshape(permute(reshape(w, split), swap), joined));
        ConvParams q{p.lhs_dilation, {}, {}, p.stride, p.rhs_dilation, p.groups};
        for (size_t s = 0; s < n; ++s) {
          wt = flip(wt, int(s) + 2);
          const int64_t reach = (spatial(w, s) - 1) * p.rhs_dilation[s];
          const int64_t length = (spatial(x, s) - 1) * p.lhs_dilation[s] + 1, covered = (spatial(g, s) - 1) * p.stride[s] + 1;
          q.pad_low.push_back(reach - p.pad_low[s]);
          q.pad_high.push_back(length + p.pad_low[s] - covered);
        }
        v.set(0, conv(g, wt, q));
      }
      if (v.needs(1)) {
        // w[o, c, k] = sum over batch and positions of g[b, o, p] x[b, c, p * stride + k * rhs - low]: a convolution
        // of x (channels as batch, batch as channels) with g as its weights.
        Val xt = conj(transpose(x, 0, 1)), gt = transpose(g, 0, 1);
        if (p.groups > 1) {
          // Channels of one group become the batch; the groups' batches lie side by side as channels.
          Dims split{Dim(p.groups), in_per_group}, joined{in_per_group, x.shape()[0] * p.groups};
          split.push_back(x.shape()[0]);
          Ints swap{1, 0, 2};
          for (size_t s = 0; s < n; ++s) {
            split.push_back(x.shape()[s + 2]);
            joined.push_back(x.shape()[s + 2]);
            swap.push_back(int64_t(s) + 3);
          }
          xt = reshape(permute(reshape(xt, split), swap), joined);
        }
        ConvParams q{p.rhs_dilation, p.pad_low, {}, p.lhs_dilation, p.stride, p.groups};
        for (size_t s = 0; s < n; ++s) {
          const int64_t covered = (spatial(g, s) - 1) * p.stride[s] + 1;
          const int64_t length = (spatial(x, s) - 1) * p.lhs_dilation[s] + 1;
          q.pad_high.push_back((spatial(w, s) - 1) * p.rhs_dilation[s] + covered - length - p.pad_low[s]);
        }
        v.set(1, transpose(conv(xt, gt, q), 0, 1));
      }
    },
    .sample = samples,
}};

Val conv(Val x, Val w, const ConvParams& p, bool unrounded) {
  SmallVector<Arg, 6> l[5];
  const Ints* lists[5] = {&p.stride, &p.pad_low, &p.pad_high, &p.lhs_dilation, &p.rhs_dilation};
  SmallVector<Arg, 8> args{Arg::of_value(x.id), Arg::of_value(w.id)};
  for (int i = 0; i < 5; ++i) {
    for (int64_t v : *lists[i]) l[i].push_back(Arg::of_dim(v));
    args.push_back(Arg::of_list(l[i]));
  }
  args.push_back(Arg::of_dim(p.groups));
  args.push_back(Arg::of_bool(unrounded));
  return x.g->call(op_info(op_conv), args)[0];
}

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::contract", {"f32[3,4], f32[4,2], [], [], [1], [0]", "f64[2,3,4], f64[2,4,5], [0], [0], [2], [1]", "f16[5], f16[5], [], [], [0], [0]"}).of("prim::conv", {"f32[1,2,6], f32[3,2,3], [1], [1], [1], [1], [1], 1", "f64[2,4,5,5], f64[4,2,2,2], [2,1], [0,1], [0,1], [1,1], [1,1], 2"});
}

static const Op* const contract_ops[] = {&op_contract, &op_conv};
OpFamily contract_family() { return contract_ops; }

}  // namespace phlox
