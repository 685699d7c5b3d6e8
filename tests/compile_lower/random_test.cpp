// Random loops: compiled and interpreted, the same bits. Few may be loops that lowering does not take.
//   PHLOX_RANDOM_FIRST=1000 PHLOX_RANDOM_LOOPS=200 test_compile_lower --gtest_filter=LowerRandom.Loops
#include "../loop/random_loop.h"

#include <charconv>
#include <cstdlib>

#include "check.h"

using namespace phlox;
using namespace phlox::harness;

namespace {

constexpr int64_t elements = 4000;

Arguments arguments_of(const Loop& loop, uint64_t seed) {
  Arguments a;
  a.symbols = {1, 1, 1};
  for (size_t p = 0; p < loop.params.size(); ++p) {
    const Param& q = loop.params[p];
    a.buffers.emplace_back(q.dtype, q.kind == Param::Kind::number ? 0 : elements);
    fill(a.buffers.back(), seed * 100 + p, seed % 2);
    a.numbers.push_back(q.kind == Param::Kind::number ? constant_bits(q.dtype, 0.5 + double(p)) : 0);
  }
  return a;
}

uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t v = otherwise;
  if (text) std::from_chars(text, text + std::strlen(text), v);
  return v;
}

TEST(LowerRandom, Loops) {
  const uint64_t count = setting("PHLOX_RANDOM_LOOPS", 60), first = setting("PHLOX_RANDOM_FIRST", 0);
  for (const Config& c : configs()) {
    std::vector<Loop> loops;
    std::vector<uint64_t> seeds;
    std::string refused;
    uint64_t refusals = 0;
    for (uint64_t seed = first; seed < first + count; ++seed) {
      const Loop loop = samples::random_loop(seed, elements);
      try {
        emit_c(lower_loop(loop, c.target).kernels.at(0), c.target, "k_0");
      } catch (const Error& e) {
        refused += cat(seed, ": ", e.what(), "\n");
        ++refusals;
        continue;
      }
      loops.push_back(loop);
      seeds.push_back(seed);
    }
    EXPECT_LE(refusals, count / 10) << refused;
    if (loops.empty()) continue;
    std::vector<Compiled> k = build(loops, c.target, c.cc);
    for (size_t n = 0; n < loops.size(); ++n) {
      SCOPED_TRACE(seeds[n]);
      check_one(c, loops[n], k[n], arguments_of(loops[n], seeds[n]));
    }
  }
}

}  // namespace
