#include "../loop/samples.h"
#include "check.h"

using namespace phlox;
using namespace phlox::harness;

namespace {

TEST(LowerMap, Contiguous) {
  for (int64_t n : {1, 5, 64, 1000, 9000}) check(samples::map(3, n), {3 * n, 3 * n}, {}, true);
}

TEST(LowerMap, SymbolicSize) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim m = env.new_symbol(3), n = env.new_symbol(7);
  const Loop l = samples::map(m, n);
  check_sizes(l, {{{21, 21}, {3, 7}}, {{100, 100}, {1, 100}}, {{13320, 13320}, {40, 333}}, {{0, 0}, {0, 5}}}, true);
}

// A broadcast row keeps the axes apart: items are found by counting.
TEST(LowerMap, SymbolicRows) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim k = env.new_symbol(4), m = env.new_symbol(3), n = env.new_symbol(7);
  LoopBuilder b;
  const int a0 = b.new_axis(k), a1 = b.new_axis(m), a2 = b.new_axis(n);
  const uint32_t x = b.param(Param::Kind::in, DType::f32), y = b.param(Param::Kind::in, DType::f32), out = b.param(Param::Kind::out, DType::f32);
  const Sv at = samples::row_major(b, {a0, a1, a2}, {k, m, n});
  b.store(out, at, b.load(x, at) + b.load(y, samples::row_major(b, {a0, a2}, {k, n})), samples::bit(a0) | samples::bit(a1) | samples::bit(a2));
  check_sizes(b.take(), {{{84, 28, 84}, {4, 3, 7}}, {{30000, 10000, 30000}, {2, 3, 5000}}, {{0, 0, 0}, {3, 0, 9}}, {{500, 10, 500}, {1, 50, 10}}});
}

}  // namespace
