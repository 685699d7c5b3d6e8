// Attention on a CPU: one work item is a head. Its keys are packed once, then tiles of some query rows go through scores,
// softmax and the product with the values while everything lies in a near cache. What a causal mask hides is skipped: it
// would add exact zeros. Every sum has the order that the op's expansion gives it, so that the bits are those of the
// expansion (of finite values: a NaN that is masked stays unseen here).
#include <algorithm>

#include "base/error.h"
#include "kernel/builder.h"
#include "kernel/math_ops.h"
#include "providers/attention.h"

namespace phlox {

namespace {

constexpr int points = 32;  // columns of a panel of keys, and the lanes of a row's sum

class AttentionTemplate {
 public:
  AttentionTemplate(const AttentionShape& s, const Target& target)
      : s_(s), wide_(target.vector_bits >= 512 && target.has("avx512f")), lanes_(wide_ ? 16 : 8), most_(wide_ ? 14 : 6),
        queries_(s.queries.value()), keys_(s.keys.value()), width_(s.width) {
    b_.kernel().register_lanes = uint16_t(lanes_);
    b_.kernel().items = s.batch * s.heads;
  }

  Kernel forward(const AttentionOperand (&qkv)[3]) {
    for (uint32_t i = 0; i < 5; ++i) params_.push_back(b_.buffer(i, DType::f32, i >= 3));
    const int64_t packed = padded(keys_) * width_ + points, line = padded(keys_) + lanes_;
    begin(packed + most_ * line + 2 * points);
    for_items([&](Kv b, Kv h) {
      const View q = view(0, qkv[0], b, h), k = view(1, qkv[1], b, h), v = view(2, qkv[2], b, h);
      const View out = rows_of(3, queries_, b, h);
      const Kv lse = (b * b_.dim(s_.heads) + h) * b_.index(queries_), scores = b_.index(packed), notes = b_.index(packed + most_ * line);
      pack_rows(k, b_.index(0), keys_, b_.index(0));
      for_tiles(queries_, [&](Kv row, Kv rows) {
        fetch(q, row + rows, rows);
        fetch(v, row, rows);
        fetch(out, row, rows);
        const Kv limit = s_.causal ? least(row + rows, b_.index(keys_)) : b_.index(keys_);
        products(q, row, rows, b_.index(0), limit, scores, line);
        loop(b_.index(0), rows, 1, [&](Kv i) {
          softmax_row(scores + i * b_.index(line), s_.causal ? least(row + i + b_.index(1), b_.index(keys_)) : b_.index(keys_), limit, notes, i);
        });
        sums(scores, line, limit, v, out, row, rows, rows);
        loop(b_.index(0), rows, 1, [&](Kv i) {
          const Kv total = b_.load(scratch_, notes + b_.index(points) + i, 1), safe = b_.select(eq(total, b_.constant(DType::f32, 0)), b_.constant(DType::f32, 1), total);
          each_vector(out, row + i, [&](Kv x) { return x / b_.splat(safe, lanes_); });
        });
        for (int64_t i = 0; i < most_; i += lanes_) {
          const Kv m = b_.load(scratch_, notes + b_.index(i), lanes_), total = b_.load(scratch_, notes + b_.index(points + i), lanes_);
          const Kv nothing = eq(m, constant(m, -__builtin_inf()));
          const Kv safe = b_.select(nothing, constant(m, 1), total), base = b_.select(nothing, constant(m, 0), m);
          b_.store_partial(params_[4], lse + row + b_.index(i), b_.select(nothing, m, expand_math(Scalar::log, safe) + base), rows - b_.index(i));
        }
      });
    });
    return finish(4.0);
  }

  // Blocks of 256 queries by 256 keys, in which sums are chains.
  Kernel backward(const AttentionOperand (&gqkv)[4]) {
    for (uint32_t i = 0; i < (s_.packed ? 7u : 9u); ++i) params_.push_back(b_.buffer(i, DType::f32, i >= 6));
    const int64_t block_keys = std::min(keys_, chain_chunk), block_queries = std::min(queries_, chain_chunk);
    const int64_t packed = padded(block_keys) * width_ + points, line = padded(block_keys) + lanes_, block = block_queries * line + points;
    begin(2 * packed + 2 * block);
    for_items([&](Kv b, Kv h) {
      const View g = view(0, gqkv[0], b, h), q = view(1, gqkv[1], b, h), k = view(2, gqkv[2], b, h), v = view(3, gqkv[3], b, h);
      const View dq = gradient(0, queries_, b, h), dk = gradient(1, keys_, b, h), dv = gradient(2, keys_, b, h);
      const Kv lse = (b * b_.dim(s_.heads) + h) * b_.index(queries_), row_sums = b * b_.index(queries_) * b_.dim(s_.heads) + h;
      const Kv p_at = b_.index(2 * packed), ds_at = b_.index(2 * packed + block), k_at = b_.index(0), v_at = b_.index(packed);
      for (int64_t kc = 0; kc < keys_; kc += chain_chunk) {
        const int64_t kn = std::min(chain_chunk, keys_ - kc);
        pack_rows(k, b_.index(kc), kn, k_at);
        pack_rows(v, b_.index(kc), kn, v_at);
        for (int64_t qc = s_.causal ? kc : 0; qc < queries_; qc += chain_chunk) {
          const int64_t qn = std::min(chain_chunk, queries_ - qc);
          const bool diagonal = s_.causal && qc < kc + kn;
          const bool first_keys = kc == 0, last_keys = kc + kn == keys_ || (s_.causal && qc == kc);
          for_tiles(qn, [&](Kv tile, Kv rows) {
            const Kv row = tile + b_.index(qc), to_p = p_at + tile * b_.index(line), to_ds = ds_at + tile * b_.index(line);
            const Kv limit = diagonal ? least(row + rows - b_.index(kc), b_.index(kn)) : b_.index(kn);
            fetch(q, row + rows, rows);
            fetch(g, row + rows, rows);
            if (first_keys) fetch(dq, row, rows);
            products(q, row, rows, k_at, limit, to_p, line);
            products(g, row, rows, v_at, limit, to_ds, line);
            loop(b_.index(0), rows, 1, [&](Kv i) {
              const Kv l = b_.load(params_[4], lse + row + i, 1), base = b_.select(eq(l, b_.constant(DType::f32, -__builtin_inf())), b_.constant(DType::f32, 0), l);
              const Kv sum = b_.load(params_[5], row_sums + (row + i) * b_.dim(s_.heads), 1);
              const Kv n = diagonal ? least(row + i + b_.index(1 - kc), b_.index(kn)) : b_.index(kn);
              gradient_row(to_p + i * b_.index(line), to_ds + i * b_.index(line), n, base, sum, diagonal ? least(limit + b_.index(most_), b_.index(kn)) : limit);
            });
            const View keys{k.param, k.at + b_.index(kc) * k.step, k.step};
            accumulate(to_ds, b_.index(line), true, keys, dq, row, rows, limit, b_.index(first_keys));
            if (last_keys) scale_rows(dq, row, rows);
          });
          const bool first_queries = qc == (s_.causal ? kc : 0), last_queries = qc + qn == queries_;
          for_tiles(kn, [&](Kv tile, Kv rows) {
            const Kv from = diagonal ? b_.op(Scalar::max, tile + b_.index(kc - qc), b_.index(0)) : b_.index(0), n = b_.index(qn) - from;
            const Kv first = b_.index(first_queries), row = tile + b_.index(kc), at = from * b_.index(line) + tile;
            if (first_queries) {
              fetch(dv, row, rows);
              fetch(dk, row, rows);
            }
            const auto from_row = [&](const View& x) { return View{x.param, x.at + (b_.index(qc) + from) * x.step, x.step}; };
            accumulate(p_at + at, b_.index(line), false, from_row(g), dv, row, rows, n, first);
            accumulate(ds_at + at, b_.index(line), false, from_row(q), dk, row, rows, n, first);
            if (last_queries) scale_rows(dk, row, rows);
            if (last_queries && s_.packed) add_zero(dv, row, rows);
          });
        }
      }
    });
    return finish(10.0);
  }

 private:
  struct View { uint32_t param; Kv at, step; };  // rows of one head: its first element, and from row to row

  static int64_t padded(int64_t n) { return (n + points - 1) / points * points; }
  Kv least(Kv a, Kv b) { return b_.op(Scalar::min, a, b); }
  Kv rounded_up(Kv n) { return (n + b_.index(points - 1)) & b_.index(-points); }

  void begin(int64_t elements) {
    b_.kernel().scratch_bytes = 4 * elements;
    scratch_ = b_.scratch(DType::f32);
  }
  Kernel finish(double products) {
    const double operations = products * double(queries_) * double(keys_) * double(width_) * (s_.causal ? 0.5 : 1.0);
    b_.kernel().item_cost = std::max<int64_t>(1, int64_t(operations / 100));
    return b_.finish();
  }

  template <class F>
  void loop(Kv from, Kv to, int64_t step, const F& body) {
    const Kv at = b_.begin_for(from, to, b_.index(step));
    body(at);
    b_.end();
  }
  template <class F>
  void for_items(const F& body) {
    loop(b_.item_begin(), b_.item_end(), 1, [&](Kv item) {
      const Kv heads = b_.dim(s_.heads), batch = b_.op(Scalar::div, item, heads);
      body(batch, item - batch * heads);
    });
  }
  // Tiles of nearly equal heights.
  template <class F>
  void for_tiles(int64_t n, const F& body) {
    const int64_t count = (n + most_ - 1) / most_, low = n / count, high = n % count;
    heights_.clear();
    heights_.push_back(int(low));
    if (high) heights_.push_back(int(low) + 1);
    loop(b_.index(0), b_.index(count), 1, [&](Kv tile) {
      const Kv more = b_.index(high);
      body(tile * b_.index(low) + least(tile, more), high ? b_.index(low) + b_.select(lt(tile, more), b_.index(1), b_.index(0)) : b_.index(low));
    });
  }

  View view(uint32_t p, const AttentionOperand& o, Kv b, Kv h) {
    return {params_[p], b_.dim(o.base) + b * b_.dim(o.batch) + h * b_.dim(o.head), b_.dim(o.row)};
  }
  // Of a result, [batch, rows, heads, width].
  View rows_of(uint32_t p, int64_t rows, Kv b, Kv h) {
    const Kv step = b_.dim(s_.heads) * b_.index(width_);
    return {params_[p], b * b_.index(rows) * step + h * b_.index(width_), step};
  }
  View gradient(uint32_t i, int64_t rows, Kv b, Kv h) {
    if (!s_.packed) return rows_of(6 + i, rows, b, h);
    const Kv part = b_.dim(s_.heads) * b_.index(width_), step = part * b_.index(3);
    return {params_[6], b * b_.index(rows) * step + b_.index(i) * part + h * b_.index(width_), step};
  }
  Kv address(const View& v, Kv row) { return b_.address(v.param, v.at + row * v.step); }

  // Rows of one head lie far apart: those that are used soon are asked for. (Addresses past the end are harmless.)
  void fetch(const View& v, Kv row, Kv rows) {
    loop(b_.index(0), rows, 1, [&](Kv i) {
      for (int64_t c = 0; c < width_; c += 16) {
        KInst k{.op = KOp::prefetch, .operand_count = 1, .imm = int64_t(v.param)};
        k.operand[0] = (v.at + (row + i) * v.step + b_.index(c)).id;
        b_.add(k);
      }
    });
  }

  void leaf(KTile::Kind kind, int rows, int vectors, int flags, std::initializer_list<Kv> operands) {
    KTile t{.kind = kind, .dtype = DType::f32, .rows = uint8_t(rows), .vectors = uint8_t(vectors), .flags = uint8_t(flags), .lanes = uint16_t(lanes_), .operands = {}};
    for (Kv v : operands) t.operands.push_back(v.id);
    b_.tile(std::move(t));
  }

  // Panels of 32 rows as columns: panel[k * 32 + row].
  void pack_rows(const View& v, Kv first, int64_t rows, Kv to) {
    loop(b_.index(0), b_.index(rows), points, [&](Kv at) {
      leaf(KTile::Kind::pack_rows, 1, 1, 0,
           {address(v, first + at), v.step, least(b_.index(rows) - at, b_.index(points)), b_.index(width_), b_.address(scratch_, to + at * b_.index(width_)), b_.index(points)});
    });
  }

  // One tile: C[rows, vectors] of A and B, `count` steps.
  void multiply(Kv a, Kv a_step, bool by_rows, Kv b, Kv b_step, Kv c, Kv c_step, Kv rows, int vectors, Kv count, Kv first) {
    const auto at_height = [&](int h) {
      leaf(KTile::Kind::multiply, h, vectors, by_rows ? KTile::row_major_a : 0,
           {a, a_step, b, b_step, c, c_step, count, first, b_.index(vectors * lanes_), c, b, b_.index(0), b_.index(h)});
    };
    if (heights_.size() == 1) return at_height(heights_[0]);
    b_.begin_if(eq(rows, b_.index(heights_[0])));
    at_height(heights_[0]);
    b_.begin_else();
    at_height(heights_[1]);
    b_.end();
  }

  // C[i][j] = rows of `x` times the packed rows, j < limit rounded up to vectors.
  void products(const View& x, Kv row, Kv rows, Kv packed, Kv limit, Kv to, int64_t line) {
    const Kv a = address(x, row);
    const auto part = [&](Kv at, int c, int vectors) {
      multiply(a, x.step, true, b_.address(scratch_, packed + at * b_.index(width_) + b_.index(c)), b_.index(points),
               b_.address(scratch_, to + at + b_.index(c)), b_.index(line), rows, vectors, b_.index(width_), b_.index(1));
    };
    const Kv whole = limit & b_.index(-points);
    loop(b_.index(0), whole, points, [&](Kv at) {
      for (int c = 0; c < points; c += 2 * lanes_) part(at, c, 2);
    });
    for (int c = 0; c < points; c += lanes_) {
      b_.begin_if(lt(whole + b_.index(c), limit));
      part(whole, c, 1);
      b_.end();
    }
  }

  // out[row + i][:] (+)= sum over k < count of A[i][k] * x[k][:]
  void accumulate(Kv a, Kv a_step, bool by_rows, const View& x, const View& out, Kv row, Kv rows, Kv count, Kv first) {
    for (int64_t c = 0; c < width_;) {
      const int vectors = width_ - c >= 2 * lanes_ ? 2 : 1;
      multiply(b_.address(scratch_, a), a_step, by_rows, b_.address(x.param, x.at + b_.index(c)), x.step,
               b_.address(out.param, out.at + row * out.step + b_.index(c)), out.step, rows, vectors, count, first);
      c += vectors * lanes_;
    }
  }
  // The same over all keys, chunk by chunk.
  void sums(Kv a, int64_t line, Kv limit, const View& x, const View& out, Kv row, Kv rows, Kv) {
    loop(b_.index(0), limit, chain_chunk, [&](Kv from) {
      const View part{x.param, x.at + from * x.step, x.step};
      const Kv first = b_.cast(eq(from, b_.index(0)), DType::i64);
      accumulate(a + from, b_.index(line), true, part, out, row, rows, least(limit - from, b_.index(chain_chunk)), first);
    });
  }

  template <class F>
  void each_vector(const View& v, Kv row, const F& f) {
    for (int64_t c = 0; c < width_; c += lanes_) {
      const Kv at = v.at + row * v.step + b_.index(c);
      b_.store(v.param, at, f(b_.load(v.param, at, lanes_)));
    }
  }
  void scale_rows(const View& v, Kv row, Kv rows) {
    loop(b_.index(0), rows, 1, [&](Kv i) {
      each_vector(v, row + i, [&](Kv x) {
        const Kv y = x * constant(x, s_.scale);
        return s_.packed ? y + constant(y, 0) : y;
      });
    });
  }
  // Packed gradients stand for sums of theirs with zeros beside them: a -0 has become +0.
  void add_zero(const View& v, Kv row, Kv rows) {
    loop(b_.index(0), rows, 1, [&](Kv i) { each_vector(v, row + i, [&](Kv x) { return x + constant(x, 0); }); });
  }

  // f(position, mask or null) for whole vectors up to n, and for what is left.
  template <class F>
  void each_points(Kv n, const F& f) {
    const Kv whole = n & b_.index(-points);
    loop(b_.index(0), whole, points, [&](Kv at) { f(at, Kv{}); });
    b_.begin_if(lt(whole, n));
    f(whole, lt(b_.cast(b_.iota(points), DType::i32), b_.cast(n - whole, DType::i32)));
    b_.end();
  }
  void zeros(Kv line, Kv from, Kv to) {
    loop(rounded_up(from), to, points, [&](Kv at) { b_.store(scratch_, line + at, b_.constant(DType::f32, 0, points)); });
  }
  Kv masked(Kv mask, Kv x, double otherwise) { return mask ? b_.select(mask, x, constant(x, otherwise)) : x; }

  // Scores become exp(score - most); the greatest and the sum are noted. What is not seen becomes 0, up to limit.
  void softmax_row(Kv line, Kv n, Kv limit, Kv notes, Kv i) {
    const auto score = [&](Kv at) { const Kv x = b_.load(scratch_, line + at, points); return x * constant(x, s_.scale); };
    const Kv most = b_.var(b_.constant(DType::f32, -__builtin_inf(), points)), total = b_.var(b_.constant(DType::f32, 0, points));
    each_points(n, [&](Kv at, Kv mask) { b_.set(most, b_.combine(Combine::max, b_.get(most), masked(mask, score(at), -__builtin_inf()))); });
    const Kv m = b_.lane_fold(Combine::max, b_.get(most)), nothing = eq(m, b_.constant(DType::f32, -__builtin_inf()));
    const Kv base = b_.splat(b_.select(nothing, b_.constant(DType::f32, 0), m), points);
    each_points(n, [&](Kv at, Kv mask) {
      const Kv e = masked(mask, expand_math(Scalar::exp, score(at) - base), 0);
      b_.store(scratch_, line + at, e);
      b_.set(total, b_.get(total) + e);
    });
    if (s_.causal) zeros(line, n, limit);
    b_.store(scratch_, notes + i, m);
    b_.store(scratch_, notes + b_.index(points) + i, b_.lane_fold(Combine::add, b_.get(total)));
  }

  // Scores become probabilities p, and dp becomes p * (dp - sum); both 0 from n to limit.
  void gradient_row(Kv p_line, Kv ds_line, Kv n, Kv base, Kv sum, Kv limit) {
    base = b_.splat(base, points);
    sum = b_.splat(sum, points);
    each_points(n, [&](Kv at, Kv mask) {
      const Kv x = b_.load(scratch_, p_line + at, points);
      const Kv p = masked(mask, expand_math(Scalar::exp, x * constant(x, s_.scale) - base), 0);
      const Kv ds = masked(mask, p * (b_.load(scratch_, ds_line + at, points) - sum), 0);
      b_.store(scratch_, p_line + at, p);
      b_.store(scratch_, ds_line + at, ds);
    });
    if (!s_.causal) return;
    zeros(p_line, n, limit);
    zeros(ds_line, n, limit);
  }

  const AttentionShape& s_;
  const bool wide_;
  const int lanes_, most_;
  const int64_t queries_, keys_, width_;
  KernelBuilder b_;
  uint32_t scratch_ = 0;
  SmallVector<uint32_t, 9> params_;
  SmallVector<int, 2> heights_;
};

}  // namespace

Kernel attention_forward_cpu(const AttentionShape& s, const Target& target, const AttentionOperand (&qkv)[3]) {
  return AttentionTemplate(s, target).forward(qkv);
}
Kernel attention_backward_cpu(const AttentionShape& s, const Target& target, const AttentionOperand (&gqkv)[4]) {
  return AttentionTemplate(s, target).backward(gqkv);
}

}  // namespace phlox
