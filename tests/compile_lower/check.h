// Compiles with both compilers for both levels and compares with the interpreter, whole and in pieces.
#pragma once
#include <gtest/gtest.h>

#include "harness.h"
#include "loop/verify.h"

namespace phlox::harness {

struct Config { const char* cc; Target target; };
// The plug-in where it was built, else the same clang as a process; AVX-512 only where the machine has it.
inline std::vector<Config> clang_only() { return {{"clang-19", v4()}, {"clang-19", v3()}}; }
inline std::vector<Config> configs() {
  std::string why;
  std::vector<Config> r;
  for (const char* cc : {ClangPlugin::find(why) ? "plug-in" : "clang-19", "gcc"})
    for (const Target& t : {v4(), v3()})
      if (host_target().vector_bits >= t.vector_bits) r.push_back({cc, t});
  return r;
}

inline Arguments arguments(const Loop& loop, std::initializer_list<int64_t> counts, std::initializer_list<int64_t> symbols, bool special) {
  Arguments a;
  size_t n = 0;
  for (int64_t c : counts) {
    a.buffers.emplace_back(loop.params[n].dtype, c);
    fill(a.buffers.back(), n + 1, special);
    ++n;
  }
  a.numbers.resize(loop.params.size());
  for (size_t p = 0; p < loop.params.size(); ++p)
    if (loop.params[p].kind == Param::Kind::number) a.numbers[p] = constant_bits(loop.params[p].dtype, 0.5 + double(p));
  a.symbols = symbols;
  return a;
}

inline bool check_one(const Config& c, const Loop& loop, Compiled& k, const Arguments& a) {
  for (int64_t pieces : {1, 3}) {
    const std::string why = compare(loop, k, a, pieces);
    EXPECT_EQ(why, "") << c.cc << " " << c.target.arch << " " << pieces << "\n" << print_loop(loop) << print_kernel(k.lowered.kernels[0]) << (k.texts.empty() ? "" : k.texts[0]);
    if (!why.empty()) return false;
  }
  return true;
}

struct Sizes { std::initializer_list<int64_t> counts, symbols; };
// One loop over symbolic sizes, compiled once.
inline void check_sizes(const Loop& loop, std::initializer_list<Sizes> sizes, bool special = false) {
  verify_loop(loop);
  for (const Config& c : configs()) {
    std::vector<Compiled> k = build({&loop, 1}, c.target, c.cc);
    for (const Sizes& s : sizes)
      if (!check_one(c, loop, k[0], arguments(loop, s.counts, s.symbols, special))) return;
  }
}

inline void check(const Loop& loop, std::initializer_list<int64_t> counts, std::initializer_list<int64_t> symbols = {},
                  bool special = false, const ScheduleOptions& options = {}) {
  verify_loop(loop);
  const Arguments a = arguments(loop, counts, symbols, special);
  ScheduleOptions no_providers = options;
  no_providers.providers = false;  // matrix leaves have no meaning to the interpreter
  Compiled without_compiler = interpreted(loop, v4(), no_providers);
  if (!check_one({"interpreter", v4()}, loop, without_compiler, a)) return;
  for (const Config& c : configs()) {
    std::vector<Compiled> k = build({&loop, 1}, c.target, c.cc, options);
    if (!check_one(c, loop, k[0], a)) return;
  }
}

// Many small loops in one translation unit; special values.
struct Batch {
  std::vector<Loop> loops;
  std::vector<Arguments> all;
  void add(const Loop& loop, std::initializer_list<int64_t> counts) {
    verify_loop(loop);
    loops.push_back(loop);
    all.push_back(arguments(loop, counts, {}, true));
  }
  ~Batch() {
    for (const Config& c : configs()) {
      std::vector<Compiled> k = build(loops, c.target, c.cc);
      for (size_t n = 0; n < loops.size(); ++n)
        if (!check_one(c, loops[n], k[n], all[n])) return;
    }
  }
};

}  // namespace phlox::harness
