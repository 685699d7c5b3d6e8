#include <gtest/gtest.h>

#include <cmath>

#include "../loop/samples.h"
#include "harness.h"

using namespace phlox;
using namespace phlox::harness;

namespace {

struct Config { const char* cc; Target target; };
std::vector<Config> configs() { return {{"clang-19", v4()}, {"clang-19", v3()}, {"gcc", v4()}, {"gcc", v3()}}; }

Arguments arguments(const Loop& loop, std::initializer_list<int64_t> counts, bool special = false) {
  Arguments a;
  size_t n = 0;
  for (int64_t c : counts) {
    a.buffers.emplace_back(loop.params[n].dtype, c);
    fill(a.buffers.back(), n + 1, special);
    ++n;
  }
  a.numbers.resize(loop.params.size());
  return a;
}

void check(const Loop& loop, const Arguments& a, const ScheduleOptions& options = {}) {
  verify_loop(loop);
  for (const Config& c : configs()) {
    Compiled k = build(loop, c.target, c.cc, options);
    for (int64_t pieces : {1, 3}) {
      const std::string why = compare(loop, k, a, pieces);
      EXPECT_EQ(why, "") << c.cc << " " << c.target.arch << "\n" << print_loop(loop) << print_kernel(k.lowered.kernels[0]) << (why.empty() ? "" : k.texts[0]);
      if (!why.empty()) return;
    }
  }
}

TEST(LowerMap, Contiguous) {
  for (int64_t n : {1, 5, 64, 1000, 9000}) check(samples::map(3, n), arguments(samples::map(3, n), {3 * n, 3 * n}, true));
}

TEST(LowerMap, SymbolicSize) {
  DimEnv env;
  DimEnvScope scope(env);
  const Dim m = env.new_symbol(3), n = env.new_symbol(7);
  const Loop l = samples::map(m, n);
  for (auto [a, b] : {std::pair<int64_t, int64_t>{3, 7}, {1, 100}, {40, 333}, {0, 5}}) {
    Arguments args = arguments(l, {a * b, a * b}, true);
    args.symbols = {a, b};
    check(l, args);
  }
}

}  // namespace
