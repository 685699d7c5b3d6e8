// Loops of the kinds that the framework makes, for tests of the loop tools.
#pragma once
#include <vector>

#include "loop/builder.h"

namespace phlox::samples {

inline AxisMask bit(int a) { return AxisMask(1) << a; }

struct Named {
  const char* name;
  Loop loop;
};

inline Sv row_major(LoopBuilder& b, std::initializer_list<int> axes, std::initializer_list<Dim> shape) {
  Sv s = b.constant_int(DType::i64, 0);
  auto d = shape.begin();
  for (int a : axes) {
    const Sv axis = b.axis(a);  // first: the text of a loop shows the order in which values were made
    s = b.index_add(b.index_mul(s, *d++), axis);
  }
  return s;
}

// y = max(x, 0) * 2 + x, f32[m, n]
inline Loop map(Dim m, Dim n, DType d = DType::f32) {
  LoopBuilder b;
  const int a0 = b.new_axis(m), a1 = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, d), out = b.param(Param::Kind::out, d);
  const Sv at = row_major(b, {a0, a1}, {m, n});
  const Sv x = b.load(in, at);
  const Sv y = b.op(Scalar::max, x, b.constant(d, 0)) * b.constant(d, 2) + x;
  b.store(out, at, y, bit(a0) | bit(a1));
  return b.take();
}

inline Loop softmax(Dim m, Dim n) {
  LoopBuilder b;
  const int a0 = b.new_axis(m), a1 = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv at = row_major(b, {a0, a1}, {m, n});
  const Sv x = b.load(in, at);
  const Sv e = b.op(Scalar::exp, x - b.reduce(Combine::max, Order::tree32, x, bit(a1)));
  b.store(out, at, e / b.reduce(Combine::add, Order::tree32, e, bit(a1)), bit(a0) | bit(a1));
  return b.take();
}

inline Loop layer_norm(Dim m, Dim n) {
  LoopBuilder b;
  const int a0 = b.new_axis(m), a1 = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), w = b.param(Param::Kind::in, DType::f32),
                 out = b.param(Param::Kind::out, DType::f32), eps = b.param(Param::Kind::number, DType::f32);
  const Sv at = row_major(b, {a0, a1}, {m, n});
  const Sv x = b.load(in, at), count = b.cast(b.dim(n), DType::f32);
  const Sv mean = b.reduce(Combine::add, Order::tree32, x, bit(a1)) / count;
  const Sv c = x - mean;
  const Sv var = b.reduce(Combine::add, Order::tree32, c * c, bit(a1)) / count;
  const Sv y = c * b.op(Scalar::rsqrt, var + b.number(eps)) * b.load(w, b.axis(a1));
  b.store(out, at, y, bit(a0) | bit(a1));
  return b.take();
}

inline Loop matmul(Dim m, Dim n, Dim k, Order order = Order::chain, DType d = DType::f32) {
  LoopBuilder b;
  const int am = b.new_axis(m), an = b.new_axis(n), ak = b.new_axis(k);
  const uint32_t x = b.param(Param::Kind::in, d), y = b.param(Param::Kind::in, d), out = b.param(Param::Kind::out, d);
  const DType c = compute_dtype(d);
  const Sv p = b.cast(b.load(x, row_major(b, {am, ak}, {m, k})), c) *
               b.cast(b.load(y, row_major(b, {ak, an}, {k, n})), c);
  b.store(out, row_major(b, {am, an}, {m, n}), b.cast(b.reduce(Combine::add, order, p, bit(ak)), d), bit(am) | bit(an));
  return b.take();
}

// Sums the rows of f32[m, n] into n columns: the reduced dimension is not the innermost one.
inline Loop column_sum(Dim m, Dim n, Order order = Order::tree1) {
  LoopBuilder b;
  const int a0 = b.new_axis(m), a1 = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv at = row_major(b, {a0, a1}, {m, n});
  const Sv sum = b.reduce(Combine::add, order, b.load(in, at), bit(a0));
  b.store(out, b.axis(a1), sum, bit(a1));
  return b.take();
}

// A row of f32[n] padded by 2 on both sides.
inline Loop pad(Dim n) {
  LoopBuilder b;
  const int a = b.new_axis(n + 4);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv at = b.index_add(b.axis(a), b.constant_int(DType::i64, -2));
  b.store(out, b.axis(a), b.load(in, at, b.in_bounds(at, n)), bit(a));
  return b.take();
}

// out[i, j] = table[index[i], j]
inline Loop gather(Dim rows, Dim n, Dim count) {
  LoopBuilder b;
  const int ai = b.new_axis(count), aj = b.new_axis(n);
  const uint32_t table = b.param(Param::Kind::in, DType::f32), index = b.param(Param::Kind::in, DType::i64),
                 out = b.param(Param::Kind::out, DType::f32);
  const Sv row = b.checked_index(b.load(index, b.axis(ai)), rows);
  b.store(out, row_major(b, {ai, aj}, {count, n}), b.load(table, b.index_add(b.index_mul(row, n), b.axis(aj))),
          bit(ai) | bit(aj));
  return b.take();
}

// out[index[i], j] += x[i, j], in order of i
inline Loop scatter_add(Dim rows, Dim n, Dim count) {
  LoopBuilder b;
  const int ai = b.new_axis(count), aj = b.new_axis(n);
  const uint32_t x = b.param(Param::Kind::in, DType::f32), index = b.param(Param::Kind::in, DType::i64),
                 out = b.param(Param::Kind::inout, DType::f32);
  const Sv row = b.checked_index(b.load(index, b.axis(ai)), rows);
  b.store(out, b.index_add(b.index_mul(row, n), b.axis(aj)), b.load(x, row_major(b, {ai, aj}, {count, n})),
          bit(ai) | bit(aj), Conflict::ordered_add);
  return b.take();
}

inline Loop cumsum(Dim m, Dim n, int along) {
  LoopBuilder b;
  const int a0 = b.new_axis(m), a1 = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv at = row_major(b, {a0, a1}, {m, n});
  b.store(out, at, b.scan(Combine::add, b.load(in, at), along ? a1 : a0), bit(a0) | bit(a1));
  return b.take();
}

inline Loop dropout(Dim n) {
  LoopBuilder b;
  const int a = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32),
                 seed = b.param(Param::Kind::number, DType::i64), offset = b.param(Param::Kind::number, DType::i64);
  const Sv word = b.philox(b.number(seed), b.number(offset), b.axis(a), 2);
  const Sv u = b.cast(b.op(Scalar::shr, word, b.constant_int(DType::i64, 8)), DType::f32) * b.constant(DType::f32, 0x1p-24);
  b.store(out, b.axis(a), b.load(in, b.axis(a)), bit(a), Conflict::unique, u < b.constant(DType::f32, 0.5));
  return b.take();
}

inline std::vector<Named> all() {
  const Dim s0 = Dim::symbol(0), s1 = Dim::symbol(1), s2 = Dim::symbol(2);
  std::vector<Named> v;
  v.push_back({"map", map(s0, s1)});
  v.push_back({"map_bf16", map(s0, 7, DType::bf16)});
  v.push_back({"softmax", softmax(s0, s1)});
  v.push_back({"layer_norm", layer_norm(s0, floordiv(s1, 3) + 4)});
  v.push_back({"matmul", matmul(s0, s1, s2)});
  v.push_back({"matmul_f16", matmul(3, 5, 9, Order::chain, DType::f16)});
  v.push_back({"column_sum", column_sum(s0, max(s1, s2) * 3 - 1)});
  v.push_back({"pad", pad(s0)});
  v.push_back({"gather", gather(s0, 16, s1)});
  v.push_back({"scatter_add", scatter_add(s0, s1, s2)});
  v.push_back({"cumsum", cumsum(s0, s1, 1)});
  v.push_back({"dropout", dropout(s0 * s1)});
  return v;
}

}  // namespace phlox::samples
