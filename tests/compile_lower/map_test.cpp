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
  for (auto [a, b] : {std::pair<int64_t, int64_t>{3, 7}, {1, 100}, {40, 333}, {0, 5}})
    check(l, {a * b, a * b}, {a, b}, true);
}

}  // namespace
