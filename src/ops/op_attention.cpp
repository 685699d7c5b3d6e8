// Attention, and tables looked up by index.
#include <cmath>

#include "ops/composite.h"
#include "ops/random.h"
#include "ops/rows.h"

namespace phlox {

// --- attention: q[..., L, E], k[..., S, E], v[..., S, V] with equal leading sizes

static Val masked_scores(Val q, Val k, Val mask, double scale, bool causal) {
  const int n = q.rank() - 2;
  const Ints batch = all_dims(n);
  Val s = contract(widen(q), widen(k), batch, batch, {n + 1}, {n + 1}) * scale;
  const Val off = like(s, -__builtin_inf());
  if (causal) s = where(iota_like(s.shape(), n, s) < iota_like(s.shape(), n + 1, s), off, s);
  if (mask) s = is_bool(mask.dtype()) ? where(mask, s, off) : s + widen(mask);
  return s;
}

// A gradient summed down to the shape that was broadcast to its own.
static Val sum_to(Val g, const Dims& shape) {
  Ints gone;
  const int lead = g.rank() - int(shape.size());
  for (int d = 0; d < g.rank(); ++d)
    if (d < lead || (shape[d - lead].is(1) && !g.shape()[d].is(1))) gone.push_back(d);
  return reshape(sum(g, gone), shape);
}

// q, k, v, mask, scale, causal. A node, so that providers can claim it whole; the log of each row's sum is kept for the
// gradient, which computes the probabilities again instead of keeping them.
static constexpr Op op_attention{{
    .schema = "prim::attention(Tensor q, Tensor k, Tensor v, Tensor? mask, float scale, bool causal) -> (Tensor, Tensor)",
    .doc = "softmax(q k^T * scale + mask) v and the logsumexp of each row; rows that see nothing give 0.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      const Val q = a[0], k = a[1], v = a[2];
      const int n = q.rank() - 2;
      const Val s = masked_scores(q, k, a.optional(3), a.f(4), a.b(5));
      const Val m = stop_gradient(reduce(s, {n + 1}, "max", true));
      const Val nothing = equal(m, like(m, -__builtin_inf())), base = where(nothing, like(m, 0), m);
      const Val e = exp_val(s - base), total = sum(e, {n + 1}, true), safe = where(nothing, like(total, 1), total);
      const Val out = contract(e, widen(v), all_dims(n), all_dims(n), {n + 1}, {n}) / safe;
      const Val lse = where(nothing, m, log_val(safe) + base);
      return {cast_like(out, q), squeeze(lse, n + 1)};
    },
    .vjp = [](Vjp& v) {
      const Args a = v.args();
      const Val q = v.in(0), k = v.in(1), val = widen(v.in(2)), mask = a.optional(3);
      const Val g = widen(v.grad() ? v.grad() : broadcast_to(like(v.out(), 0), v.out().shape()));
      const int n = q.rank() - 2;
      const Ints b = all_dims(n);
      const double scale = a.f(4);
      const Val lse = unsqueeze(v.out(1), n + 1);
      const Val base = where(equal(lse, like(lse, -__builtin_inf())), like(lse, 0), lse);
      const Val p = exp_val(masked_scores(q, k, mask, scale, a.b(5)) - base);
      if (v.needs(2)) v.set(2, cast_like(contract(p, g, b, b, {n}, {n}), v.in(2)));
      const Val dp = contract(g, val, b, b, {n + 1}, {n + 1});
      Val row = sum(g * widen(v.out(0)), {n + 1}, true);
      if (v.grad(1)) row = row - unsqueeze(v.grad(1), n + 1);  // gradients of gradients ask for that of the logsumexp
      const Val ds = p * (dp - row);
      if (v.needs(0)) v.set(0, cast_like(contract(ds, widen(k), b, b, {n + 1}, {n}) * scale, q));
      if (v.needs(1)) v.set(1, cast_like(contract(ds, widen(q), b, b, {n}, {n}) * scale, k));
      if (mask && v.needs(3)) v.set(3, cast_like(sum_to(ds, mask.shape()), mask));
    },
}};

// Key and value heads repeated so that each serves a group of query heads.
static Val repeat_heads(const Args& a, Val kv, Dim heads) {
  const int h = kv.rank() - 3;
  if (dim_eq(kv.shape()[h], heads)) return kv;
  if (!dim_eq(mod(heads, kv.shape()[h]), 0)) a.error("key heads must divide the query heads", cat(kv.shape()[h]), cat("a divisor of ", heads));
  Dims shape = kv.shape();
  shape[h] = heads;
  return reshape(expand_at(kv, h + 1, floordiv(heads, kv.shape()[h])), shape);
}

// query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
static Vals attend(const Args& a) {
  Val q = a[0], k = a[1], v = a[2], mask = a.optional(3);
  require_float(a, q, "query");
  require(a, q.rank() >= 2 && k.rank() >= 2 && v.rank() >= 2, "query, key and value need at least two dimensions", shape_of(q));
  if (q.dtype() != k.dtype() || q.dtype() != v.dtype())
    a.error("query, key and value have different dtypes", cat(q.dtype(), ", ", k.dtype(), ", ", v.dtype()), "one dtype", "cast them");
  require(a, dim_eq(q.size(-1), k.size(-1)), "query and key have different embedding sizes", cat(shape_of(q), " and ", shape_of(k)));
  require(a, dim_eq(k.size(-2), v.size(-2)), "key and value have different lengths", cat(shape_of(k), " and ", shape_of(v)));
  require(a, !(mask && a.b(5)), "attn_mask and is_causal exclude each other");
  if (a.b(7) && q.rank() >= 3) {
    k = repeat_heads(a, k, q.size(-3));
    v = repeat_heads(a, v, q.size(-3));
  }
  auto batch_of = [](Val x) { Dims d = x.shape(); d.resize(d.size() - 2); return d; };
  const Dims batch = broadcast_shapes(a.name(), broadcast_shapes(a.name(), batch_of(q), batch_of(k)), batch_of(v));
  auto spread = [&](Val x) {
    Dims d = batch;
    d.push_back(x.size(-2));
    d.push_back(x.size(-1));
    return broadcast_to(x, d, a.name());
  };
  q = spread(q);
  k = spread(k);
  v = spread(v);
  const double scale = a.has(6) ? a.f(6) : 1 / std::sqrt(double(dim_int(q.size(-1), a.name())));
  if (mask) {
    Dims scores = batch;
    scores.push_back(q.size(-2));
    scores.push_back(k.size(-2));
    broadcast_to(mask, scores, a.name());  // checks that it fits
  }
  if (a.f(4) > 0) {
    const int n = q.rank() - 2;
    const Val p = drop(a, safe_softmax_rows(masked_scores(q, k, mask, scale, a.b(5)), {n + 1}), a.f(4));
    return {cast_like(contract(p, widen(v), all_dims(n), all_dims(n), {n + 1}, {n}), q)};
  }
  return {call(a.builder(), "prim::attention", {arg_of(q), arg_of(k), arg_of(v), arg_of(mask), Arg::of_real(scale), a.raw(5)})[0]};
}
static constexpr Op op_sdpa{{
    .schema = "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0.0, "
              "bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
    .doc = "softmax(query key^T * scale + attn_mask) value. A bool mask says what takes part, a float mask is added; is_causal lets "
           "position i see positions up to i; scale defaults to 1 / sqrt(E); enable_gqa repeats key and value heads.",
    .expand = attend,
    .effects = Effects::random,
    .autocast = Autocast::lower,
}};

// --- tables

static Val table_index(const Args& a, int arg) {
  const Val i = a[arg];
  if (i.dtype() != DType::i64 && i.dtype() != DType::i32)
    a.error("indices must be integers", cat(i.dtype()), "int64 or int32", "cast them with .to(int64)");
  return cast(i, DType::i64);
}

// How often each row of the table is looked up.
static Val uses(Val table, Val index) {
  const Val one = fill_like(cast(index, table.dtype()), 1);
  return scatter(full(*table.g, {table.size(0)}, table.dtype(), 0), {index}, {0}, one, ScatterMode::add);
}
// `value` in the forward pass, with the gradient of `way`: way - way is exactly 0 where finite.
static Val value_with_gradient(Val value, Val way) { return stop_gradient(value) + (way - stop_gradient(way)); }

static constexpr Op op_embedding{{
    .schema = "embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
    .doc = "Rows of weight by index. The row padding_idx gets no gradient; scale_grad_by_freq divides by how often a row is used.",
    .expand = [](const Args& a) -> Vals {
      const Val w = a[0], index = table_index(a, 1);
      require(a, w.rank() == 2, "weight must be a matrix", shape_of(w), "[rows, features]");
      Val y = gather(w, {index}, {0});
      if (a.b(3)) {
        const Val freq = gather(uses(w, index), {index}, {0});
        y = value_with_gradient(y, y / unsqueeze(freq, freq.rank()));
      }
      if (const int64_t padding = a.i(2); padding >= 0) {
        const Val pads = equal(index, full_int(a.builder(), {}, DType::i64, padding));
        y = where(unsqueeze(pads, pads.rank()), stop_gradient(y), y);
      }
      return {y};
    },
}};

// self, num_classes
static Vals one_hot(const Args& a) {
  const Val t = cast(a[0], DType::i64);
  require(a, a.i(1) > 0, "the number of classes is not known here", cat(a.i(1)), "num_classes as a positive number");
  Dims shape = t.shape();
  shape.push_back(a.i(1));
  return {cast(equal(expand_at(t, t.rank(), a.i(1)), iota_like(shape, t.rank(), t)), DType::i64)};
}
static constexpr Op op_one_hot{{
    .schema = "one_hot(Tensor self, int num_classes=-1) -> Tensor",
    .doc = "1 at each class number's place in a new last dimension, else 0.",
    .expand = one_hot,
}};

static const Op* const attention_ops[] = {&op_attention, &op_sdpa, &op_embedding, &op_one_hot};
OpFamily attention_family() { return attention_ops; }

}  // namespace phlox
