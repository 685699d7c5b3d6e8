#include <gtest/gtest.h>

#include <cmath>

#include "../loop/samples.h"
#include "check.h"

using namespace phlox;
using namespace phlox::harness;
using samples::bit;
using samples::row_major;

namespace {

TEST(LowerRow, Softmax) {
  for (int64_t n : {1, 7, 32, 100, 1000}) check(samples::softmax(5, n), {5 * n, 5 * n});
  check(samples::softmax(2, 20000), {40000, 40000});
}

TEST(LowerRow, LayerNorm) {
  for (int64_t n : {5, 64, 777}) check(samples::layer_norm(6, n), {6 * n, n, 6 * n, 0});
  check(samples::layer_norm(2, 9001), {2 * 9001, 9001, 2 * 9001, 0});
}

TEST(LowerRow, SymbolicRows) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim m = env.new_symbol(3), n = env.new_symbol(7);
  const Loop soft = samples::softmax(m, n), norm = samples::layer_norm(m, n);
  check_sizes(soft, {{{21, 21}, {3, 7}}, {{100, 100}, {1, 100}}, {{34000, 34000}, {2, 17000}}, {{0, 0}, {0, 5}}});
  check_sizes(norm, {{{21, 7, 21, 0}, {3, 7}}, {{100, 100, 100, 0}, {1, 100}}, {{34000, 17000, 34000, 0}, {2, 17000}}, {{0, 5, 0, 0}, {0, 5}}});
}

TEST(LowerReduce, Columns) {
  for (Order o : {Order::tree1, Order::tree32, Order::chain})
    for (auto [m, n] : {std::pair<int64_t, int64_t>{5, 70}, {300, 33}, {5000, 3}, {9000, 17}})
      check(samples::column_sum(m, n, o), {m * n, n});
}

TEST(LowerContract, Matmul) {
  check(samples::matmul(7, 40, 33), {7 * 33, 33 * 40, 7 * 40});
  check(samples::matmul(3, 5, 600), {3 * 600, 600 * 5, 15});
  check(samples::matmul(3, 18, 9, Order::chain, DType::f16), {27, 9 * 18, 54});
  check(samples::matmul(3, 18, 300, Order::chain, DType::bf16), {900, 300 * 18, 54});
  check(samples::matmul(3, 18, 300, Order::tree32), {900, 300 * 18, 54});
}

TEST(LowerIndex, Pad) { for (int64_t n : {1, 30, 400}) check(samples::pad(n), {n, n + 4}); }
TEST(LowerIndex, Gather) { check(samples::gather(60, 40, 30), {60 * 40, 30, 30 * 40}); }
TEST(LowerIndex, BadIndexIsReported) { check(samples::gather(10, 40, 30), {10 * 40, 30, 30 * 40}); }
TEST(LowerIndex, ScatterAdd) {
  check(samples::scatter_add(60, 40, 300), {300 * 40, 300, 60 * 40});
  check(samples::scatter_add(60, 1, 300), {300, 300, 60});
}
TEST(LowerScan, Cumsum) {
  for (int along : {0, 1}) check(samples::cumsum(20, 70, along), {1400, 1400});
}
TEST(LowerRandom, Dropout) { check(samples::dropout(1000), {1000, 1000, 0, 0}); }
TEST(LowerMap, SixteenBit) {
  for (DType d : {DType::bf16, DType::f16, DType::f64}) check(samples::map(9, 77, d), {9 * 77, 9 * 77});
}

// --- loops that the samples do not have

Loop unary(DType from, DType to, Scalar op, int64_t n) {
  LoopBuilder b;
  const int a = b.new_axis(n);
  const uint32_t in = b.param(Param::Kind::in, from), out = b.param(Param::Kind::out, to);
  Sv x = b.load(in, b.axis(a));
  if (op != Scalar::cast) x = b.op(op, x);
  b.store(out, b.axis(a), b.cast(x, to), bit(a));
  return b.take();
}
Loop binary(DType d, Scalar op, int64_t n) {
  LoopBuilder b;
  const int a = b.new_axis(n);
  const uint32_t x = b.param(Param::Kind::in, d), y = b.param(Param::Kind::in, d);
  const DType r = scalar_info(op).result == ScalarResult::test ? DType::boolean : d;
  const uint32_t out = b.param(Param::Kind::out, r);
  b.store(out, b.axis(a), b.op(op, b.load(x, b.axis(a)), b.load(y, b.axis(a))), bit(a));
  return b.take();
}

constexpr DType all_types[] = {DType::boolean, DType::u8, DType::i8, DType::i16, DType::i32, DType::i64, DType::f16,
                               DType::bf16, DType::f32, DType::f64, DType::u16, DType::u32, DType::u64};

TEST(LowerScalar, Casts) {
  Batch batch;
  for (DType from : all_types)
    for (DType to : all_types) batch.add(unary(from, to, Scalar::cast, 150), {150, 150});
}

TEST(LowerScalar, Integers) {
  Batch batch;
  for (DType d : {DType::u8, DType::i8, DType::i16, DType::i32, DType::i64, DType::u16, DType::u32, DType::u64}) {
    for (Scalar op : {Scalar::add, Scalar::sub, Scalar::mul, Scalar::div, Scalar::floordiv, Scalar::floormod, Scalar::fmod,
                      Scalar::min, Scalar::max, Scalar::lt, Scalar::le, Scalar::eq, Scalar::ne, Scalar::band, Scalar::bor,
                      Scalar::bxor})
      batch.add(binary(d, op, 300), {300, 300, 300});
    for (Scalar op : {Scalar::neg, Scalar::abs, Scalar::bnot}) batch.add(unary(d, d, op, 100), {100, 100});
  }
  for (Scalar op : {Scalar::min, Scalar::max, Scalar::lt, Scalar::le, Scalar::eq, Scalar::ne, Scalar::band, Scalar::bor, Scalar::bxor})
    batch.add(binary(DType::boolean, op, 300), {300, 300, 300});
}

TEST(LowerScalar, Floats) {
  Batch batch;
  for (DType d : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    for (Scalar op : {Scalar::add, Scalar::sub, Scalar::mul, Scalar::div, Scalar::fmod, Scalar::min, Scalar::max, Scalar::lt,
                      Scalar::le, Scalar::eq, Scalar::ne})
      batch.add(binary(d, op, 400), {400, 400, 400});
    for (Scalar op : {Scalar::neg, Scalar::abs, Scalar::sqrt, Scalar::floor, Scalar::ceil, Scalar::trunc, Scalar::round,
                      Scalar::exp, Scalar::tanh, Scalar::normal_cdf, Scalar::log, Scalar::sin, Scalar::rsqrt, Scalar::erf, Scalar::sigmoid, Scalar::expm1})
      batch.add(unary(d, d, op, 200), {200, 200});
  }
}

// out[i, j] = x[j, i] + bias[i], and a reversed axis
TEST(LowerMap, Strides) {
  for (auto [m, n] : {std::pair<int64_t, int64_t>{5, 70}, {33, 65}}) {
    LoopBuilder b;
    const int i = b.new_axis(m), j = b.new_axis(n);
    const uint32_t x = b.param(Param::Kind::in, DType::f32), bias = b.param(Param::Kind::in, DType::f32),
                   out = b.param(Param::Kind::out, DType::f32);
    const Sv reversed = b.index_add(b.constant_int(DType::i64, n - 1), b.index_mul(b.axis(j), -1));
    b.store(out, row_major(b, {i, j}, {m, n}),
            b.load(x, row_major(b, {j, i}, {n, m})) + b.load(bias, b.axis(i)) * b.load(x, reversed), bit(i) | bit(j));
    const Loop l = b.take();
    check(l, {m * n, m, m * n});
  }
}

// Sum over the first and last of three axes: rows that do not start at lane 0, blocks that end inside of rows.
TEST(LowerReduce, TwoAxes) {
  for (auto [a, m, n] : {std::tuple<int64_t, int64_t, int64_t>{3, 5, 49}, {70, 3, 300}, {10, 2, 64}, {90, 2, 1000}})
    for (Order o : {Order::tree32, Order::tree1, Order::chain}) {
      LoopBuilder b;
      const int i = b.new_axis(a), j = b.new_axis(m), k = b.new_axis(n);
      const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
      const Sv v = b.load(x, row_major(b, {i, j, k}, {a, m, n}));
      b.store(out, b.axis(j), b.reduce(Combine::add, o, v * v, bit(i) | bit(k)), bit(j));
      check(b.take(), {a * m * n, m});
    }
}

TEST(LowerReduce, Everything) {
  for (int64_t n : {1, 31, 4000, 100000})
    for (Combine c : {Combine::add, Combine::max, Combine::mul}) {
      LoopBuilder b;
      const int i = b.new_axis(n);
      const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
      b.store(out, b.constant_int(DType::i64, 0), b.reduce(c, Order::tree32, b.load(x, b.axis(i)), bit(i)), 0);
      check(b.take(), {n, 1});
    }
}

TEST(LowerReduce, OtherTypes) {
  for (DType d : {DType::bf16, DType::f64, DType::i64, DType::u8, DType::boolean}) {
    LoopBuilder b;
    const int i = b.new_axis(4), j = b.new_axis(300);
    const uint32_t x = b.param(Param::Kind::in, d), out = b.param(Param::Kind::out, d);
    const Combine c = is_bool(d) ? Combine::bor : Combine::max;
    b.store(out, b.axis(i), b.reduce(c, Order::tree32, b.load(x, row_major(b, {i, j}, {4, 300})), bit(j)), bit(i));
    check(b.take(), {1200, 4});
    if (is_bool(d)) continue;
    LoopBuilder s;
    const int p = s.new_axis(4), q = s.new_axis(300);
    const uint32_t y = s.param(Param::Kind::in, d), sum = s.param(Param::Kind::out, d);
    s.store(sum, s.axis(p), s.reduce(Combine::add, Order::tree32, s.load(y, row_major(s, {p, q}, {4, 300})), bit(q)), bit(p));
    check(s.take(), {1200, 4});
  }
}

// A reduction inside of a reduction: max over k of the sum over j.
TEST(LowerReduce, Nested) {
  LoopBuilder b;
  const int i = b.new_axis(3), j = b.new_axis(40), k = b.new_axis(50);
  const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv sum = b.reduce(Combine::add, Order::tree32, b.load(x, row_major(b, {i, j, k}, {3, 40, 50})), bit(k));
  b.store(out, b.axis(i), b.reduce(Combine::max, Order::tree32, sum, bit(j)), bit(i));
  check(b.take(), {6000, 3});
}

// Two outputs in place: m = 0.9 m + 0.1 g; p = p - g m
TEST(LowerMap, InPlace) {
  LoopBuilder b;
  const int i = b.new_axis(1000);
  const uint32_t g = b.param(Param::Kind::in, DType::f32), m = b.param(Param::Kind::inout, DType::f32), p = b.param(Param::Kind::inout, DType::f32);
  const Sv at = b.axis(i), now = b.load(m, at) * b.constant(DType::f32, 0.9) + b.load(g, at) * b.constant(DType::f32, 0.1);
  b.store(m, at, now, bit(i));
  b.store(p, at, b.load(p, at) - b.load(g, at), bit(i));
  check(b.take(), {1000, 1000, 1000});
}

}  // namespace
