// Reductions that take several kernels, and values that are kept between the passes of a row.
#include <array>

#include "../loop/samples.h"
#include "check.h"

using namespace phlox;
using namespace phlox::harness;
using samples::bit;
using samples::row_major;

namespace {

TEST(LowerSplit, NormaliseEverything) {
  for (int64_t n : {100, 70000, 200001}) {
    LoopBuilder b;
    const int i = b.new_axis(n);
    const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
    const Sv v = b.load(x, b.axis(i)), count = b.cast(b.dim(n), DType::f32);
    const Sv mean = b.reduce(Combine::add, Order::tree32, v, bit(i)) / count;
    const Sv c = v - mean, var = b.reduce(Combine::add, Order::tree32, c * c, bit(i)) / count;
    b.store(out, b.axis(i), c * b.op(Scalar::rsqrt, var), bit(i));
    const Loop l = b.take();
    const Lowered k = lower_loop(l, v4());
    EXPECT_EQ(k.kernels.size(), n > 65536 ? 3u : 1u);
    check(l, {n, n});
  }
}

// Statistics of few channels over batch and place: two reduced axes around the kept one.
TEST(LowerSplit, BatchNorm) {
  for (auto [m, c, s] : {std::tuple<int64_t, int64_t, int64_t>{40, 3, 1000}, {300, 5, 77}, {64, 4, 1024}}) {
    LoopBuilder b;
    const int i = b.new_axis(m), j = b.new_axis(c), k = b.new_axis(s);
    const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32),
                   mean_out = b.param(Param::Kind::out, DType::f32);
    const Sv at = row_major(b, {i, j, k}, {m, c, s}), v = b.load(x, at), count = b.constant(DType::f32, double(m * s));
    const Sv mean = b.reduce(Combine::add, Order::tree32, v, bit(i) | bit(k)) / count;
    const Sv square = b.reduce(Combine::add, Order::tree32, v * v, bit(i) | bit(k)) / count;
    b.store(mean_out, b.axis(j), mean, bit(j));
    b.store(out, at, (v - mean) * b.op(Scalar::rsqrt, square - mean * mean), bit(i) | bit(j) | bit(k));
    check(b.take(), {m * c * s, m * c * s, c});
  }
}

TEST(LowerSplit, FewLongRows) { check(samples::softmax(2, 100000), {200000, 200000}); }

TEST(LowerSplit, ColumnsThenMap) {
  for (auto [m, n] : {std::pair<int64_t, int64_t>{3000, 40}, {2000, 3}}) {
    LoopBuilder b;
    const int i = b.new_axis(m), j = b.new_axis(n);
    const uint32_t x = b.param(Param::Kind::in, DType::bf16), out = b.param(Param::Kind::out, DType::bf16);
    const Sv at = row_major(b, {i, j}, {m, n}), v = b.cast(b.load(x, at), DType::f32);
    const Sv sum = b.reduce(Combine::add, Order::tree1, v, bit(i));
    b.store(out, at, b.cast(v - sum * b.constant(DType::f32, 1e-3), DType::bf16), bit(i) | bit(j));
    check(b.take(), {m * n, m * n});
  }
}

TEST(LowerSplit, SymbolicTotal) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim n = env.new_symbol(1000);
  LoopBuilder b;
  const int i = b.new_axis(n);
  const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  b.store(out, b.constant_int(DType::i64, 0), b.reduce(Combine::max, Order::tree32, b.load(x, b.axis(i)), bit(i)), 0);
  const Loop l = b.take();
  check_sizes(l, {{{0, 1}, {0}}, {{5, 1}, {5}}, {{1000, 1}, {1000}}, {{30000, 1}, {30000}}});
}

TEST(LowerRow, KeptValuesMatchRecomputedOnes) {
  ScheduleOptions off;
  off.row_scratch = false;
  for (int64_t n : {33, 1000}) {
    check(samples::softmax(4, n), {4 * n, 4 * n}, {}, false, off);
    check(samples::softmax(4, n), {4 * n, 4 * n});
  }
}

// Nothing runs, so nothing may be read: not even what does not vary over the empty axis.
TEST(LowerMap, EmptyDomainTouchesNothing) {
  DimEnv env;
  DimEnvScope scope(env);
  for (const Dim m : {Dim(0), env.new_symbol(3)}) {
    LoopBuilder b;
    const int i = b.new_axis(m), j = b.new_axis(4);
    const uint32_t x = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
    b.store(out, row_major(b, {i, j}, {m, 4}), b.load(x, b.constant_int(DType::i64, 0)) + b.load(x, b.axis(j)), bit(i) | bit(j));
    const Loop l = b.take();
    Compiled k = interpreted(l, v4());
    execute(l, k, {nullptr, nullptr}, {0, 0}, std::array<int64_t, 1>{0}, nullptr);
  }
}

}  // namespace
