// View primitives: results whose elements are elements of the operand at computed positions.
#include "ops/checks.h"
#include "ops/element.h"
#include "ops/prims.h"

namespace phlox {

static void samples(SampleBuilder& s);

using Types = SmallVector<TensorType, 2>;
using Index = SmallVector<Sv, 6>;

static TensorType reshaped(const TensorType& from, Dims shape) {
  TensorType t = from;
  t.strides.clear();
  t.weak = false;
  t.shape = std::move(shape);
  return t;
}
static Arg dims_arg(const Dims& d, SmallVector<Arg, 6>& store) {
  for (Dim x : d) store.push_back(Arg::of_dim(x));
  return Arg::of_list(store);
}
static Arg ints_arg(const Ints& d, SmallVector<Arg, 6>& store) {
  for (int64_t x : d) store.push_back(Arg::of_dim(x));
  return Arg::of_list(store);
}
static Val call(const Op& op, Val a, std::initializer_list<Arg> rest) {
  SmallVector<Arg, 6> args{Arg::of_value(a.id)};
  args.append(rest.begin(), rest.end());
  return a.g->call(op_info(op), args)[0];
}

// A dimension that a user's call came down to.
static void have_dim(Val a, int dim, int extra = 0) {
  if (dim < 0 || dim >= a.rank() + extra)
    fail(ErrorCode::out_of_range, {.op = "view", .fact = "dimension out of range", .got = cat("dimension ", dim, " of ", a.type()),
                                   .expected = cat("a tensor with at least ", dim + 1 - extra, " dimensions")});
}

// --- broadcast

// Does an operand's size repeat to fill the result's? A symbolic size may be 1 too.
static bool repeats(Dim from, Dim to) { return from != to && (from.is(1) || (!from.is_const() && dim_eq(from, 1))); }

static constexpr Op op_broadcast{{
    .schema = "prim::broadcast(Tensor a, SymInt[] shape, int[] dims) -> Tensor",
    .type = [](const Args& a, Types& out) {
      const Dims shape = a.dims(1);
      const Ints dims = need_dims(a, 2, int(shape.size()));
      need(a, int(dims.size()) == a[0].rank(), "not every dimension has its place");
      for (size_t k = 0; k < dims.size(); ++k)
        need(a, a[0].shape()[k].is(1) || may_equal(a[0].shape()[k], shape[dims[k]]), "a size that does not repeat");
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      Index in;
      for (int k = 0; k < c.type(0).rank(); ++k) {
        const Dim n = c.type(0).shape[k];
        const size_t d = size_t(c.int_at(2, k));
        in.push_back(n.is(1) || repeats(n, c.out().shape[d]) ? c.loop.constant_int(DType::i64, 0) : index[d]);
      }
      return c.in(0, in);
    },
    .vjp = [](Vjp& v) {
      const Val a = v.in(0), g = v.grad();
      const Ints dims = v.args().ints(2);
      Ints reduced;
      for (int d = 0; d < g.rank(); ++d) {
        bool kept = false;
        for (size_t k = 0; k < dims.size(); ++k) kept |= dims[k] == d && !repeats(a.shape()[k], g.shape()[d]);
        if (!kept) reduced.push_back(d);
      }
      v.set(0, reshape(sum(g, reduced), a.shape()));
    },
    .view = true,
    .sample = samples,
}};
Val broadcast_in(Val a, const Dims& shape, const Ints& dims) {
  bool same = a.rank() == int(shape.size());
  for (int i = 0; same && i < a.rank(); ++i) same = dims[i] == i && a.shape()[i] == shape[i];
  if (same && !a.type().weak) return a;
  SmallVector<Arg, 6> s, d;
  return call(op_broadcast, a, {dims_arg(shape, s), ints_arg(dims, d)});
}

// --- permute

static constexpr Op op_permute{{
    .schema = "prim::permute(Tensor a, int[] perm) -> Tensor",
    .type = [](const Args& a, Types& out) {
      Dims shape;
      const Ints perm = a.ints(1);
      for (size_t k = 0; k < perm.size(); ++k) {
        bool fits = perm.size() == size_t(a[0].rank()) && perm[k] >= 0 && perm[k] < a[0].rank();
        for (size_t j = 0; j < k; ++j) fits = fits && perm[j] != perm[k];
        if (!fits) a.error("this is no order of the dimensions", cat("[", join(perm), "] for ", a[0].type()), "every dimension once");
        shape.push_back(a[0].shape()[perm[k]]);
      }
      if (int(perm.size()) != a[0].rank()) a.error("this is no order of the dimensions", cat("[", join(perm), "] for ", a[0].type()), "every dimension once");
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      Index in(index.size());
      for (size_t k = 0; k < index.size(); ++k) in[size_t(c.int_at(1, int(k)))] = index[k];
      return c.in(0, in);
    },
    .vjp = [](Vjp& v) {
      const Ints perm = v.args().ints(1);
      Ints inverse(perm.size());
      for (size_t k = 0; k < perm.size(); ++k) inverse[perm[k]] = int64_t(k);
      v.set(0, permute(v.grad(), inverse));
    },
    .view = true,
    .sample = samples,
}};
Val permute(Val a, const Ints& perm) {
  bool same = true;
  for (size_t i = 0; i < perm.size(); ++i) same &= perm[i] == int64_t(i);
  if (same) return a;
  SmallVector<Arg, 6> p;
  return call(op_permute, a, {ints_arg(perm, p)});
}
Val transpose(Val a, int x, int y) {
  have_dim(a, x);
  have_dim(a, y);
  Ints perm;
  for (int i = 0; i < a.rank(); ++i) perm.push_back(i);
  std::swap(perm[x], perm[y]);
  return permute(a, perm);
}

// --- reshape

// Positions in a row-major tensor of shape `to` that hold the same element as `index` in shape `from`. Runs of dims
// with equal products are treated apart, so that untouched dims keep their own index.
static Index reshape_index(LoopBuilder& b, const Dims& from, const Dims& to, std::span<const Sv> index) {
  Index out;
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    const size_t i0 = i, j0 = j;
    Dim p = i < from.size() ? from[i++] : Dim(1), q = j < to.size() ? to[j++] : Dim(1);
    while (p != q && (i < from.size() || j < to.size())) {
      const bool grow_from = i < from.size() && (j == to.size() || (p.is_const() && q.is_const() ? p.value() < q.value()
                                                                     : from.size() - i >= to.size() - j));
      if (grow_from) p = p * from[i++];
      else q = q * to[j++];
    }
    if (i - i0 == 1 && j - j0 == 1) { out.push_back(index[i0]); continue; }
    Dims fs, ts;
    fs.append(from.begin() + i0, from.begin() + i);
    ts.append(to.begin() + j0, to.begin() + j);
    const Sv linear = b.linear(index.subspan(i0, i - i0), contiguous_strides(fs));
    const Dims strides = contiguous_strides(ts);
    for (size_t k = 0; k < ts.size(); ++k) {
      const Sv q_k = b.index_div(linear, strides[k]);
      out.push_back(ts[k].is(1) ? b.constant_int(DType::i64, 0) : k == 0 ? q_k : b.index_mod(q_k, ts[k]));
    }
  }
  return out;
}

static constexpr Op op_reshape{{
    .schema = "prim::reshape(Tensor a, SymInt[] shape) -> Tensor",
    .type = [](const Args& a, Types& out) {
      const Dims shape = a.dims(1);
      need(a, may_equal(product(shape), a[0].numel()), "another number of elements");
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      if (c.type(0).numel().is(0)) return c.in(0, Index(size_t(c.type(0).rank()), c.loop.constant_int(DType::i64, 0)));
      // Row-major memory is the same under every shape: no divisions.
      if (const Sv s = c.in_at(0, c.loop.linear(index, contiguous_strides(c.out().shape)))) return s;
      return c.in(0, reshape_index(c.loop, c.out().shape, c.type(0).shape, index));
    },
    .vjp = [](Vjp& v) { v.set(0, reshape(v.grad(), v.in(0).shape())); },
    .view = true,
    .sample = samples,
}};
Val reshape(Val a, const Dims& shape) {
  if (a.shape() == shape) return a;
  const Dim from = a.numel(), to = product(shape);
  if (from.is_const() && to.is_const() && from != to)
    fail(ErrorCode::invalid_argument, {.op = "reshape", .fact = "the number of elements does not fit", .got = cat(a.type(), " as ", shape_text(shape)),
                                       .expected = cat(from, " elements")});
  SmallVector<Arg, 6> s;
  return call(op_reshape, a, {dims_arg(shape, s)});
}
Val unsqueeze(Val a, int dim) {
  have_dim(a, dim, 1);
  Dims s = a.shape();
  s.insert(size_t(dim), 1);
  return reshape(a, s);
}
Val squeeze(Val a, int dim) {
  have_dim(a, dim);
  Dims s = a.shape();
  s.erase(size_t(dim));
  return reshape(a, s);
}

// --- slice and pad

static constexpr Op op_slice{{
    .schema = "prim::slice(Tensor a, int dim, SymInt start, SymInt count, int step) -> Tensor",
    .type = [](const Args& a, Types& out) {
      Dims shape = a[0].shape();
      const int d = need_dim(a, 1, a[0].rank());
      const Dim n = shape[d], start = a.d(2), count = a.d(3);
      // Kernels trust the range. Where a size is a symbol, it is the caller's to guard.
      if (n.is_const() && start.is_const() && count.is_const() && !count.is(0)) {
        const int64_t first = start.value(), last = first + (count.value() - 1) * a.i(4);
        if (std::min(first, last) < 0 || std::max(first, last) >= n.value())
          a.error("the slice reaches outside its operand", cat(first, " to ", last), cat("places of ", n.value()));
      }
      shape[d] = count;
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      Index in;
      in.append(index.begin(), index.end());
      Sv& k = in[size_t(c.integer(1))];
      k = c.loop.index_add(c.loop.index_mul(k, c.integer(4)), c.loop.dim(c.arg(2).as_dim()));
      return c.in(0, in);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const int d = int(a.i(1));
      const Dim start = a.d(2), count = a.d(3), n = v.in(0).shape()[d];
      const int64_t step = a.i(4);
      Val g = v.grad();
      const Dim last = start + (count - 1) * step;
      Dims low(size_t(g.rank())), high(size_t(g.rank()));
      Ints interior(size_t(g.rank()));
      interior[d] = (step < 0 ? -step : step) - 1;
      if (step < 0) g = flip(g, d);
      low[d] = step < 0 ? last : start;
      // An empty slice has nothing to place: `low` zeros on one side make up the whole length.
      high[d] = count.is(0) ? n - low[d] : n - 1 - (step < 0 ? start : last);
      v.set(0, pad(g, low, high, interior));
    },
    .view = true,
    .sample = samples,
}};
Val slice(Val a, int dim, Dim start, Dim count, int64_t step) {
  have_dim(a, dim);
  if (start.is(0) && step == 1 && a.shape()[dim] == count) return a;
  return call(op_slice, a, {Arg::of_dim(dim), Arg::of_dim(start), Arg::of_dim(count), Arg::of_dim(step)});
}
Val flip(Val a, int dim) {
  have_dim(a, dim);
  return slice(a, dim, a.shape()[dim] - 1, a.shape()[dim], -1);
}
Val select_index(Val a, int dim, Dim index) { return squeeze(slice(a, dim, index, 1), dim); }

static constexpr Op op_pad{{
    .schema = "prim::pad(Tensor a, SymInt[] low, SymInt[] high, int[] interior) -> Tensor",
    .type = [](const Args& a, Types& out) {
      Dims shape = a[0].shape(), low = a.dims(1), high = a.dims(2);
      const Ints interior = a.ints(3);
      need(a, low.size() == shape.size() && high.size() == shape.size() && interior.size() == shape.size(), "not one amount a dimension");
      for (int64_t n : interior) need(a, n >= 0, "a negative distance");
      for (size_t d = 0; d < shape.size(); ++d) {
        // n elements with `interior` zeros between neighbours; none between none.
        const Dim inner = interior[d] && !shape[d].is(0) ? (shape[d] - 1) * interior[d] : Dim(0);
        shape[d] = shape[d] + inner + low[d] + high[d];
      }
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      Index in;
      Sv inside = c.loop.constant_int(DType::boolean, 1);
      for (size_t d = 0; d < index.size(); ++d) {
        Sv k = c.loop.index_add(index[d], c.loop.dim(Dim(0) - c.dim_at(1, int(d))));
        const int64_t step = c.int_at(3, int(d)) + 1;
        const Dim n = c.type(0).shape[d];
        inside = inside & c.loop.in_bounds(k, n.is(0) ? Dim(0) : (n - 1) * step + 1);
        if (step != 1) {
          inside = inside & c.loop.op(Scalar::eq, c.loop.index_mod(k, step), c.loop.constant_int(DType::i64, 0));
          k = c.loop.index_div(k, step);
        }
        in.push_back(k);
      }
      return c.in(0, in, inside);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Dims low = a.dims(1), high = a.dims(2), shape = v.in(0).shape();
      const Ints interior = a.ints(3);
      Val g = v.grad();
      // Amounts that are not known to be positive may have cropped: padding by their negatives undoes both, and gives
      // cropped elements a gradient of zero.
      auto added = [](Dim d) { return d.is_const() && d.value() >= 0; };
      Dims back_low(size_t(g.rank())), back_high(size_t(g.rank()));
      bool cropped = false;
      for (int d = 0; d < g.rank(); ++d) {
        if (added(low[d]) && added(high[d])) continue;
        back_low[d] = Dim(0) - low[d];
        back_high[d] = Dim(0) - high[d];
        cropped = true;
      }
      if (cropped) g = pad(g, back_low, back_high);
      for (int d = 0; d < g.rank(); ++d)
        g = slice(g, d, added(low[d]) && added(high[d]) ? low[d] : Dim(0), shape[d], interior[d] + 1);
      v.set(0, g);
    },
    .view = true,
    .sample = samples,
}};
Val pad(Val a, const Dims& low, const Dims& high, const Ints& interior) {
  Ints in = interior;
  in.resize(size_t(a.rank()));
  bool none = true;
  for (int d = 0; d < a.rank(); ++d) none &= low[d].is(0) && high[d].is(0) && in[d] == 0;
  if (none) return a;
  SmallVector<Arg, 6> l, h, i;
  return call(op_pad, a, {dims_arg(low, l), dims_arg(high, h), ints_arg(in, i)});
}

// --- windows

static Dim window_count(Dim n, Dim size, int64_t step, int64_t dilation) {
  return floordiv(n - (size - 1) * dilation - 1, step) + 1;
}
static constexpr Op op_unfold{{
    .schema = "prim::unfold(Tensor a, int dim, SymInt size, int step, int dilation) -> Tensor",
    .type = [](const Args& a, Types& out) {
      Dims shape = a[0].shape();
      const int d = need_dim(a, 1, a[0].rank());
      need(a, a.i(3) > 0 && a.i(4) > 0, "a step that is not positive");
      shape[d] = window_count(shape[d], a.d(2), a.i(3), a.i(4));
      shape.push_back(a.d(2));
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      Index in;
      in.append(index.begin(), index.end() - 1);
      Sv& k = in[size_t(c.integer(1))];
      k = c.loop.index_add(c.loop.index_mul(k, c.integer(3)), c.loop.index_mul(index.back(), c.integer(4)));
      return c.in(0, in);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      v.set(0, fold(v.grad(), int(a.i(1)), v.in(0).shape()[a.i(1)], a.i(3), a.i(4)));
    },
    .view = true,
    .sample = samples,
}};
Val unfold(Val a, int dim, Dim size, int64_t step, int64_t dilation) {
  have_dim(a, dim);
  return call(op_unfold, a, {Arg::of_dim(dim), Arg::of_dim(size), Arg::of_dim(step), Arg::of_dim(dilation)});
}

// result[p] = sum over window positions k of a[(p - k * dilation) / step, k] where that is a window.
static constexpr Op op_fold{{
    .schema = "prim::fold(Tensor a, int dim, SymInt length, int step, int dilation) -> Tensor",
    .type = [](const Args& a, Types& out) {
      Dims shape = a[0].shape();
      const int d = need_dim(a, 1, a[0].rank() - 1);
      need(a, a.i(3) > 0 && a.i(4) > 0, "a step that is not positive");
      shape.pop_back();
      shape[d] = a.d(2);
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const size_t d = size_t(c.integer(1));
      const int64_t step = c.integer(3), dilation = c.integer(4);
      const Dims& shape = c.type(0).shape;
      const int axis = c.loop.axis_for(shape.back(), c.used(index));
      const Sv k = c.loop.axis(axis);
      const Sv p = c.loop.index_add(index[d], c.loop.index_mul(k, -dilation));
      const Sv o = c.loop.index_div(p, step);
      Sv inside = c.loop.in_bounds(p, shape[d].is(0) ? Dim(0) : (shape[d] - 1) * step + 1);
      if (step != 1)
        inside = inside & c.loop.op(Scalar::eq, c.loop.index_mod(p, step), c.loop.constant_int(DType::i64, 0));
      Index in;
      in.append(index.begin(), index.end());
      in[d] = o;
      in.push_back(k);
      return c.loop.reduce(Combine::add, Order::tree1, c.in(0, in, inside), AxisMask(1) << axis);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      v.set(0, unfold(v.grad(), int(a.i(1)), v.in(0).shape().back(), a.i(3), a.i(4)));
    },
    .sample = samples,
}};
Val fold(Val a, int dim, Dim length, int64_t step, int64_t dilation) {
  return call(op_fold, a, {Arg::of_dim(dim), Arg::of_dim(length), Arg::of_dim(step), Arg::of_dim(dilation)});
}

// --- diagonals

static constexpr Op op_diagonal{{
    .schema = "prim::diagonal(Tensor a, int d1, int d2, int offset) -> Tensor",
    .type = [](const Args& a, Types& out) {
      const int64_t d1 = need_dim(a, 1, a[0].rank()), d2 = need_dim(a, 2, a[0].rank()), off = a.i(3);
      need(a, d1 != d2, "a dimension that is named twice");
      Dims shape;
      for (int d = 0; d < a[0].rank(); ++d) if (d != d1 && d != d2) shape.push_back(a[0].shape()[d]);
      const Dim rows = a[0].shape()[d1], cols = a[0].shape()[d2];
      const Dim n = off >= 0 ? min(rows, cols - off) : min(rows + off, cols);
      shape.push_back(off == 0 ? n : max(n, 0));  // an offset may lie outside
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const int64_t d1 = c.integer(1), d2 = c.integer(2), off = c.integer(3);
      Index in;
      size_t k = 0;
      for (int d = 0; d < c.type(0).rank(); ++d) {
        if (d == d1) in.push_back(c.loop.index_add(index.back(), c.loop.constant_int(DType::i64, off < 0 ? -off : 0)));
        else if (d == d2) in.push_back(c.loop.index_add(index.back(), c.loop.constant_int(DType::i64, off > 0 ? off : 0)));
        else in.push_back(index[k++]);
      }
      return c.in(0, in);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const int64_t d1 = a.i(1), d2 = a.i(2), off = a.i(3);
      Val g = diag_embed(v.grad(), off, int(d1), int(d2));
      // diag_embed makes a square; crop or extend it to the operand's rectangle.
      Dims low(size_t(g.rank())), high(size_t(g.rank()));
      high[d1] = v.in(0).shape()[d1] - g.shape()[d1];
      high[d2] = v.in(0).shape()[d2] - g.shape()[d2];
      v.set(0, pad(g, low, high));
    },
    .view = true,
    .sample = samples,
}};
Val diagonal(Val a, int d1, int d2, int64_t offset) {
  return call(op_diagonal, a, {Arg::of_dim(d1), Arg::of_dim(d2), Arg::of_dim(offset)});
}

static constexpr Op op_diag_embed{{
    .schema = "prim::diag_embed(Tensor a, int offset, int d1, int d2) -> Tensor",
    .type = [](const Args& a, Types& out) {
      need(a, a[0].rank() > 0, "a diagonal without a dimension");
      const int64_t off = a.i(1), d1 = need_dim(a, 2, a[0].rank() + 1), d2 = need_dim(a, 3, a[0].rank() + 1);
      need(a, d1 != d2, "a dimension that is named twice");
      const Dim n = a[0].shape().back() + (off < 0 ? -off : off);
      Dims shape;
      size_t k = 0;
      for (int d = 0; d < a[0].rank() + 1; ++d) shape.push_back(d == d1 || d == d2 ? n : a[0].shape()[k++]);
      out.push_back(reshaped(a[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const int64_t off = c.integer(1);
      const size_t d1 = size_t(c.integer(2)), d2 = size_t(c.integer(3));
      Index in;
      for (size_t d = 0; d < index.size(); ++d) if (d != d1 && d != d2) in.push_back(index[d]);
      const Sv row = c.loop.index_add(index[d1], c.loop.constant_int(DType::i64, off > 0 ? off : 0));
      const Sv col = c.loop.index_add(index[d2], c.loop.constant_int(DType::i64, off < 0 ? -off : 0));
      in.push_back(off >= 0 ? index[d1] : index[d2]);
      const Sv on = c.loop.op(Scalar::eq, row, col) & c.loop.in_bounds(in.back(), c.type(0).shape.back());
      return c.in(0, in, on);
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      v.set(0, diagonal(v.grad(), int(a.i(2)), int(a.i(3)), a.i(1)));
    },
    .view = true,
    .sample = samples,
}};
Val diag_embed(Val a, int64_t offset, int d1, int d2) {
  return call(op_diag_embed, a, {Arg::of_dim(offset), Arg::of_dim(d1), Arg::of_dim(d2)});
}

// --- strides

// Elements of a row-major at offset + i * stride[0] + j * stride[1] + ...; eager applies the strides to a's storage.
static constexpr Op op_as_strided{{
    .schema = "prim::as_strided(Tensor a, SymInt[] size, SymInt[] stride, SymInt? offset) -> Tensor",
    .type = [](const Args& a, Types& out) {
      need(a, a.dims(1).size() == a.dims(2).size(), "not one stride a size");
      out.push_back(reshaped(a[0].type(), a.dims(1)));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const Dims& shape = c.type(0).shape;
      Dims strides;
      for (uint32_t k = 0; k < c.count(2); ++k) strides.push_back(c.dim_at(2, int(k)));
      Sv at = c.loop.linear(index, strides);
      if (!c.arg(3).is_none()) at = c.loop.index_add(at, c.loop.dim(c.arg(3).as_dim()));
      const Sv one[] = {at};
      const Dims flat{c.type(0).numel()};
      return c.in(0, reshape_index(c.loop, flat, shape, one));
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Val x = v.in(0), g = v.grad();
      const Dims size = a.dims(1), stride = a.dims(2);
      const Dim n = g.numel();
      Val at = full_int(v.builder(), size, DType::i64, 0);
      auto spread = [&](Dim d) { return broadcast_in(dim_value(v.builder(), d, DType::i64), size, {}); };
      if (a.has(3)) at = map(Scalar::add, at, spread(a.d(3)));
      for (size_t d = 0; d < size.size(); ++d)
        at = map(Scalar::add, at, map(Scalar::mul, iota(v.builder(), size, int(d), DType::i64), spread(stride[d])));
      const Val zero = full(v.builder(), {x.numel()}, g.dtype(), 0);
      v.set(0, reshape(scatter(zero, {reshape(at, {n})}, {0}, reshape(g, {n}), ScatterMode::add), x.shape()));
    },
    .view = true,
    .sample = samples,
}};
Val as_strided(Val a, const Dims& size, const Dims& stride, std::optional<Dim> offset) {
  SmallVector<Arg, 6> s, t;
  return call(op_as_strided, a, {dims_arg(size, s), dims_arg(stride, t), offset ? Arg::of_dim(*offset) : Arg{}});
}

// --- concatenation

static constexpr Op op_cat{{
    .schema = "prim::cat(Tensor[] parts, int dim) -> Tensor",
    .type = [](const Args& a, Types& out) {
      const std::vector<Val> parts = a.vals(0);
      need(a, !parts.empty(), "nothing to join");
      Dims shape = parts[0].shape();
      const int d = need_dim(a, 1, parts[0].rank());
      for (const Val& p : parts) {
        Dims like = p.shape();
        if (p.rank() == parts[0].rank()) like[d] = shape[d];
        need(a, may_equal(like, shape), "parts of different shapes");
        need(a, p.dtype() == parts[0].dtype(), "parts of different dtypes");
      }
      for (size_t k = 1; k < parts.size(); ++k) shape[d] = shape[d] + parts[k].shape()[d];
      out.push_back(reshaped(parts[0].type(), shape));
    },
    .loop = [](ElementContext& c, std::span<const Sv> index) {
      const size_t d = size_t(c.integer(1));
      Dim start = 0;
      Sv result;
      for (int k = 0; k < int(c.count(0)); ++k) {
        const Dim n = c.graph.type(c.node.args[0].list[k].value).shape[d];
        Index in;
        in.append(index.begin(), index.end());
        in[d] = c.loop.index_add(index[d], c.loop.dim(Dim(0) - start));
        const Sv inside = c.loop.in_bounds(in[d], n);
        const Sv part = c.item(0, k, in, inside);
        result = result ? c.loop.select(inside, part, result) : part;
        start = start + n;
      }
      return result;
    },
    .vjp = [](Vjp& v) {
      const std::vector<Val> parts = v.args().vals(0);
      const int d = int(v.args().i(1));
      Dim start = 0;
      for (size_t k = 0; k < parts.size(); ++k) {
        v.set_item(0, int(k), slice(v.grad(), d, start, parts[k].shape()[d]));
        start = start + parts[k].shape()[d];
      }
    },
    .sample = samples,
}};
Val concat(const std::vector<Val>& parts, int dim) {
  if (parts.empty()) fail(ErrorCode::invalid_argument, {.op = "cat", .fact = "there is nothing to put together", .got = "no tensors", .expected = "at least one"});
  if (parts.size() == 1) return parts[0];
  for (Val p : parts) {
    have_dim(p, dim);
    bool fits = p.rank() == parts[0].rank() && p.dtype() == parts[0].dtype();
    for (int d = 0; fits && d < p.rank(); ++d) {
      const Dim n = p.shape()[d], m = parts[0].shape()[d];
      fits = d == dim || !n.is_const() || !m.is_const() || n == m;
    }
    if (!fits)
      fail(ErrorCode::invalid_argument, {.op = "cat", .fact = "the parts do not fit together", .got = cat(parts[0].type(), " and ", p.type()),
                                         .expected = cat("equal dtypes, and equal sizes but along dimension ", dim)});
  }
  SmallVector<Arg, 6> list;
  for (Val p : parts) list.push_back(Arg::of_value(p.id));
  const Arg args[] = {Arg::of_list(list), Arg::of_dim(dim)};
  return parts[0].g->call(op_info(op_cat), args)[0];
}

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::broadcast", {"f32[3], [2,3], [1]", "i64[2,1], [2,4], [0,1]"}).of("prim::permute", {"f32[2,3,4], [2,0,1]"}).of("prim::reshape", {"f32[2,3,4], [6,4]", "f64[], [1,1]"}).of("prim::slice", {"f32[5,3], 0, 1, 2, 2", "i64[2,4], 1, 0, 3, 1"})
      .of("prim::pad", {"f32[2,3], [1,0], [0,2], [0,0]", "f64[3], [-1], [2], [1]"}).of("prim::unfold", {"f32[2,7], 1, 3, 2, 1", "f64[6], 0, 2, 1, 2"}).of("prim::fold", {"f32[2,3,3], 1, 7, 2, 1", "f64[4,2], 0, 6, 1, 2"}).of("prim::as_strided", {"f32[3,4], [2,2], [4,1], 1", "f64[6], [3], [2], None"})
      .of("prim::diagonal", {"f32[3,4], 0, 1, 0", "f64[2,3,3], 1, 2, 1"}).of("prim::diag_embed", {"f32[2,3], 0, 1, 2", "f64[3], 1, 0, 1"}).of("prim::cat", {"{f32[2,3], f32[1,3]}, 0", "{f64[2,1], f64[2,3]}, 1"}).dense_only("prim::as_strided");
}

static const Op* const view_ops[] = {&op_broadcast, &op_permute, &op_reshape, &op_slice, &op_pad, &op_unfold,
                                     &op_fold, &op_as_strided, &op_diagonal, &op_diag_embed, &op_cat};
OpFamily view_family() { return view_ops; }

}  // namespace phlox
