// Attention, and tables looked up by index.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/composite.h"
#include "ops/random.h"
#include "ops/rows.h"

namespace phlox {

static void samples(SampleBuilder& s);

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

struct AttentionGradients { Val of[3], scores; };
// `g` is widened; `lse_g`: the gradient of the logsumexp, which gradients of gradients ask for.
static AttentionGradients attention_gradients(Val g, Val q, Val k, Val v, Val mask, Val out, Val lse_out, Val lse_g, double scale, bool causal) {
  const int n = q.rank() - 2;
  const Ints b = all_dims(n);
  const Val lse = unsqueeze(lse_out, n + 1);
  const Val base = where(equal(lse, like(lse, -__builtin_inf())), like(lse, 0), lse);
  const Val p = exp_val(masked_scores(q, k, mask, scale, causal) - base);
  AttentionGradients r;
  r.of[2] = cast_like(contract(p, g, b, b, {n}, {n}), v);
  const Val dp = contract(g, widen(v), b, b, {n + 1}, {n + 1});
  Val row = sum(g * widen(out), {n + 1}, true);
  if (lse_g) row = row - unsqueeze(lse_g, n + 1);
  const Val ds = r.scores = p * (dp - row);
  r.of[0] = cast_like(contract(ds, widen(k), b, b, {n + 1}, {n}) * scale, q);
  r.of[1] = cast_like(contract(ds, widen(q), b, b, {n}, {n}) * scale, k);
  return r;
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
      const Val g = v.grad() ? v.grad() : broadcast_to(like(v.out(), 0), v.out().shape());
      if (!v.grad(1) && !(a.has(3) && v.needs(3))) {
        const Vals r = call(v.builder(), "prim::attention_backward", {arg_of(g), arg_of(v.in(0)), arg_of(v.in(1)), arg_of(v.in(2)), a.raw(3),
                                                                      arg_of(v.out(0)), arg_of(v.out(1)), a.raw(4), a.raw(5)});
        for (int i = 0; i < 3; ++i) if (v.needs(i)) v.set(i, r[size_t(i)]);
        return;
      }
      const AttentionGradients r = attention_gradients(widen(g), v.in(0), v.in(1), v.in(2), a.optional(3), v.out(0), v.out(1), v.grad(1), a.f(4), a.b(5));
      for (int i = 0; i < 3; ++i) if (v.needs(i)) v.set(i, r.of[i]);
      if (a.has(3) && v.needs(3)) v.set(3, cast_like(sum_to(r.scores, a.optional(3).shape()), a.optional(3)));
    },
    .sample = samples,
}};

static constexpr Op op_attention_backward{{
    .schema = "prim::attention_backward(Tensor g, Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor out, Tensor lse, float scale, bool causal) -> "
              "(Tensor, Tensor, Tensor)",
    .doc = "The gradients of q, k and v.",
    .type = type_by_expand,
    .expand = [](const Args& a) -> Vals {
      const AttentionGradients r = attention_gradients(widen(a[0]), a[1], a[2], a[3], a.optional(4), a[5], a[6], {}, a.f(7), a.b(8));
      return {r.of[0], r.of[1], r.of[2]};
    },
    .native = "attention_backward",  // stays a node, which a provider may claim
    .sample = samples,
}};

// --- the same on [batch, rows, heads, width], for providers that run it whole

static TensorType rows_type(const Args& a, Dims shape, DType d) {
  TensorType t = a[0].type();
  t.shape = std::move(shape);
  t.strides.clear();
  t.dtype = d;
  return t;
}
static double load_element(const HostTensor& t, int64_t i) {
  Inst c{.op = Scalar::constant, .dtype = t.dtype};
  std::memcpy(&c.imm, static_cast<const char*>(t.data) + i * dtype_bytes(t.dtype), size_t(dtype_bytes(t.dtype)));
  return constant_value(c);
}
static void store_element(const HostTensor& t, int64_t i, double x) {
  const int64_t bits = constant_bits(t.dtype, x);
  std::memcpy(static_cast<char*>(t.data) + i * dtype_bytes(t.dtype), &bits, size_t(dtype_bytes(t.dtype)));
}
// One head: rows of `width` values.
struct HeadView {
  const HostTensor& t;
  int64_t b, h;
  double at(int64_t row, int64_t i) const {
    const int64_t rows = t.shape[1], heads = t.shape[2], width = t.shape[3];
    return load_element(t, ((b * rows + row) * heads + h) * width + i);
  }
  void put(int64_t row, int64_t i, double x) const {
    const int64_t rows = t.shape[1], heads = t.shape[2], width = t.shape[3];
    store_element(t, ((b * rows + row) * heads + h) * width + i, x);
  }
};
static double score(const HeadView& q, const HeadView& k, int64_t i, int64_t j, double scale) {
  double s = 0;
  for (int64_t d = 0; d < q.t.shape[3]; ++d) s += q.at(i, d) * k.at(j, d);
  return s * scale;
}
static void flash_reference(HostCall& c) {
  const HostTensor &q = c.in[0], &k = c.in[1], &v = c.in[2];
  const int64_t queries = q.shape[1], keys = k.shape[1], heads = q.shape[2], width = q.shape[3];
  const double scale = c.f(3);
  std::vector<double> p(static_cast<size_t>(keys));
  for (int64_t b = 0; b < q.shape[0]; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < queries; ++i) {
        const HeadView qh{q, b, h}, kh{k, b, h}, vh{v, b, h}, out{c.out[0], b, h};
        const int64_t n = c.i(4) ? std::min(keys, i + 1) : keys;
        double most = -__builtin_inf(), total = 0;
        for (int64_t j = 0; j < n; ++j) most = std::max(most, p[size_t(j)] = score(qh, kh, i, j, scale));
        for (int64_t j = 0; j < n; ++j) total += p[size_t(j)] = std::exp(p[size_t(j)] - most);
        for (int64_t d = 0; d < width; ++d) {
          double x = 0;
          for (int64_t j = 0; j < n; ++j) x += p[size_t(j)] * vh.at(j, d);
          out.put(i, d, x / total);
        }
        store_element(c.out[1], (b * heads + h) * queries + i, most + std::log(total));
      }
}
static void flash_backward_reference(HostCall& c) {
  const HostTensor &g = c.in[0], &q = c.in[1], &k = c.in[2], &v = c.in[3], &lse = c.in[4], &row = c.in[5];
  const int64_t queries = q.shape[1], keys = k.shape[1], heads = q.shape[2], width = q.shape[3];
  const double scale = c.f(6);
  std::vector<double> dk(static_cast<size_t>(keys * width)), dv(dk.size()), dq(static_cast<size_t>(width));
  for (int64_t b = 0; b < q.shape[0]; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      const HeadView gh{g, b, h}, qh{q, b, h}, kh{k, b, h}, vh{v, b, h};
      std::fill(dk.begin(), dk.end(), 0.0);
      std::fill(dv.begin(), dv.end(), 0.0);
      for (int64_t i = 0; i < queries; ++i) {
        std::fill(dq.begin(), dq.end(), 0.0);
        for (int64_t j = 0; j < (c.i(7) ? std::min(keys, i + 1) : keys); ++j) {
          const double p = std::exp(score(qh, kh, i, j, scale) - load_element(lse, (b * heads + h) * queries + i));
          double dp = 0;
          for (int64_t d = 0; d < width; ++d) dp += gh.at(i, d) * vh.at(j, d);
          const double ds = p * (dp - load_element(row, (b * queries + i) * heads + h)) * scale;
          for (int64_t d = 0; d < width; ++d) {
            dq[size_t(d)] += ds * kh.at(j, d);
            dk[size_t(j * width + d)] += ds * qh.at(i, d);
            dv[size_t(j * width + d)] += p * gh.at(i, d);
          }
        }
        for (int64_t d = 0; d < width; ++d) HeadView{c.out[0], b, h}.put(i, d, dq[size_t(d)]);
      }
      for (int64_t j = 0; j < keys; ++j)
        for (int64_t d = 0; d < width; ++d) {
          HeadView{c.out[1], b, h}.put(j, d, dk[size_t(j * width + d)]);
          HeadView{c.out[2], b, h}.put(j, d, dv[size_t(j * width + d)]);
        }
    }
}
static constexpr Op op_flash{{
    .schema = "prim::flash(Tensor q, Tensor k, Tensor v, float scale, bool causal) -> (Tensor, Tensor)",
    .doc = "prim::attention without a mask on [batch, rows, heads, width]; the logsumexp is [batch, heads, rows].",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      const Dims& s = a[0].shape();
      out.push_back(rows_type(a, s, a[0].dtype()));
      out.push_back(rows_type(a, {s[0], s[2], s[1]}, DType::f32));
    },
    .reference = flash_reference,
    .sample = samples,
}};
static constexpr Op op_flash_backward{{
    .schema = "prim::flash_backward(Tensor g, Tensor q, Tensor k, Tensor v, Tensor lse, Tensor row, float scale, bool causal) -> (Tensor, Tensor, Tensor)",
    .doc = "The gradients of q, k and v; row[batch, rows, heads] is the sum of g * out.",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      for (int i = 1; i < 4; ++i) out.push_back(rows_type(a, a[i].shape(), a[i].dtype()));
    },
    .reference = flash_backward_reference,
    .sample = samples,
}};

// The three gradients side by side in each row, as the projection that made q, k and v wants them.
static void flash_backward_packed_reference(HostCall& c) {
  const HostTensor out = c.out[0];
  const int64_t part = out.shape[2] / 3, rows = out.shape[0] * out.shape[1], bytes = part * dtype_bytes(out.dtype);
  c.out.clear();
  for (int i = 1; i < 4; ++i) c.out.push_back(make_host_tensor(out.dtype, c.in[size_t(i)].shape));
  flash_backward_reference(c);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < 3; ++i)
      std::memcpy(static_cast<char*>(out.data) + (r * 3 + i) * bytes, static_cast<const char*>(c.out[size_t(i)].data) + r * bytes, size_t(bytes));
  c.out.assign(1, out);
}
static constexpr Op op_flash_backward_packed{{
    .schema = "prim::flash_backward_packed(Tensor g, Tensor q, Tensor k, Tensor v, Tensor lse, Tensor row, float scale, bool causal) -> Tensor",
    .doc = "prim::flash_backward with its results side by side: [batch, rows, 3 * heads * width].",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) {
      const Dims& s = a[1].shape();
      out.push_back(rows_type(a, {s[0], s[1], s[2] * s[3] * 3}, a[1].dtype()));
    },
    .reference = flash_backward_packed_reference,
    .sample = samples,
}};

// One query a head, its heads in groups that share a key head.
static void one_query_reference(HostCall& c) {
  const HostTensor &q = c.in[0], &k = c.in[1], &v = c.in[2];
  const int64_t group = q.shape[2], keys = k.shape[2], width = q.shape[3];
  std::vector<double> p(static_cast<size_t>(keys));
  for (int64_t head = 0; head < q.shape[0] * q.shape[1]; ++head)
    for (int64_t i = head * group; i < (head + 1) * group; ++i) {
      double most = -__builtin_inf(), total = 0;
      for (int64_t j = 0; j < keys; ++j) {
        double s = 0;
        for (int64_t d = 0; d < width; ++d) s += load_element(q, i * width + d) * load_element(k, (head * keys + j) * width + d);
        p[size_t(j)] = c.in.size() > 3 && load_element(c.in[3], j) == 0 ? -__builtin_inf() : s * c.f(4);
        most = std::max(most, p[size_t(j)]);
      }
      if (most == -__builtin_inf()) most = 0;
      for (int64_t j = 0; j < keys; ++j) total += p[size_t(j)] = std::exp(p[size_t(j)] - most);
      for (int64_t d = 0; d < width; ++d) {
        double x = 0;
        for (int64_t j = 0; j < keys; ++j)
          if (p[size_t(j)] > 0) x += p[size_t(j)] * load_element(v, (head * keys + j) * width + d);
        store_element(c.out[0], i * width + d, total > 0 ? x / total : 0);
      }
    }
}
static constexpr Op op_attend_one{{
    .schema = "prim::attend_one(Tensor q, Tensor k, Tensor v, Tensor? mask, float scale) -> Tensor",
    .doc = "prim::attention of one query on q[batch, key heads, group, width] and k, v [batch, key heads, keys, width]; mask[keys]: which keys take part.",
    .type = [](const Args& a, SmallVector<TensorType, 2>& out) { out.push_back(rows_type(a, a[0].shape(), a[0].dtype())); },
    .reference = one_query_reference,
    .sample = samples,
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
    .sample = samples,
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
    .sample = samples,
}};

// self, num_classes
static Vals one_hot(const Args& a) {
  require(a, is_int(a[0].dtype()), "class numbers must be integers", shape_of(a[0]), "an integer dtype");
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
    .sample = samples,
}};

// --- samples

static void samples(SampleBuilder& s) {
  s.of("prim::attention_backward", {"f32[1,2,3,4], f32[1,2,3,4], f32[1,2,5,4], f32[1,2,5,4], None, f32[1,2,3,4], f32[1,2,3]:2..4, 0.5, False"})
      .of("prim::flash", {"f32[1,3,2,4], f32[1,5,2,4], f32[1,5,2,4], 0.5, False"})
      .of("prim::flash_backward", {"f32[1,3,2,4], f32[1,3,2,4], f32[1,5,2,4], f32[1,5,2,4], f32[1,2,3]:2..4, f32[1,3,2], 0.5, False"})
      .of("prim::flash_backward_packed", {"f32[1,3,2,4], f32[1,3,2,4], f32[1,3,2,4], f32[1,3,2,4], f32[1,2,3]:2..4, f32[1,3,2], 0.5, True"})
      .of("prim::attend_one", {"f32[1,2,3,4], f32[1,2,5,4], f32[1,2,5,4], None, 0.5", "f32[2,1,2,4], f32[2,1,3,4], f32[2,1,3,4], bool[3], 0.5"})
      .no_gradients("prim::flash prim::flash_backward prim::flash_backward_packed prim::attend_one");
  s.of("prim::attention", {"f32[1,2,3,4], f32[1,2,5,4], f32[1,2,5,4], None, 0.5, False"}).of("scaled_dot_product_attention", {"[1,2,3,4], [1,2,5,4], [1,2,5,4]", "[2,3,4], [2,3,4], [2,3,4], None, 0, True", "[1,2,3,4], [1,2,5,4], [1,2,5,6], [3,5]"})
      .refuses("scaled_dot_product_attention", {"[1,2,3,4], [1,2,5,3], [1,2,5,4]", "[4], [4], [4]", "[1,2,3,4], [1,2,5,4], [1,2,4,4]", "[2,3,4], [2,3,4], [2,3,4], [3,3], 0, True"})
      .of("embedding", {"[5,3], i64[2,4]:0..4", "[5,3], i32[3]=0|4|2, 1"}).of("one_hot", {"i64[4]:0..3, 5", "i64[2,2]:0..1, 2"}).refuses("embedding", {"[5], i64[2]:0..4", "[5,3], [2]", "[5,3], i64[2]=0|7"}).refuses("one_hot", {"[4], 5", "i64[4]:0..3, 0"});
}

static const Op* const attention_ops[] = {&op_attention, &op_attention_backward, &op_flash, &op_flash_backward, &op_flash_backward_packed, &op_attend_one, &op_sdpa, &op_embedding, &op_one_hot};
OpFamily attention_family() { return attention_ops; }

}  // namespace phlox
