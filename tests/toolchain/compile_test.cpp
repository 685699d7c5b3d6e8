// The compilers themselves: the same text through gcc, clang and the plug-in must run and give the same bits.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels.h"
#include "program/code_arena.h"
#include "toolchain/object_image.h"
#include "toolchain/spawn_cc.h"

using namespace phlox;
using namespace phlox::test;

namespace {

std::vector<std::unique_ptr<SpawnCc>> spawned() {
  std::vector<std::unique_ptr<SpawnCc>> r;
  for (const char* name : {"gcc", "clang-19", "clang"})
    if (auto cc = SpawnCc::find(name)) r.push_back(std::move(cc));
  return r;
}

Target target_with_bits(int bits) {
  Target t = host_target();
  if (bits < t.vector_bits) {
    t = Target{};
    t.arch = "x86-64-v3";
    t.vector_bits = bits;
  }
  return t;
}
std::vector<int> widths() { return host_target().vector_bits >= 512 ? std::vector{256, 512} : std::vector{256}; }

std::vector<float> inputs(size_t n) {
  std::vector<float> x(n);
  uint32_t s = 1;
  for (float& v : x) {
    s = s * 1664525u + 1013904223u;
    v = float(int32_t(s)) * 0x1p-24f;
  }
  x[0] = -0.0f, x[1] = INFINITY, x[2] = -INFINITY, x[3] = 1e-42f;
  return x;
}

KernelFn fn(CodeArena& arena, const Image& image, const std::string& entry) {
  return reinterpret_cast<KernelFn>(arena.load(image).at(entry_offset(image, entry)));
}

std::vector<float> run(KernelFn f, const std::vector<float>& x, float scale) {
  std::vector<float> y(x.size(), -7.0f);
  const uint64_t words[] = {uint64_t(x.data()), uint64_t(y.data()), std::bit_cast<uint32_t>(scale)};
  f(words, 0, 500);
  f(words, 500, int64_t(x.size()));
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

void expect_right_and_equal(Compiler& cc, int bits) {
  const KernelText batch[] = {bias_relu("k_a1", bits), mixed("k_b2", bits), copies("k_c3"), bias_relu("k_d4", bits, "-3.0f")};
  const Target target = target_with_bits(bits);
  const Image together = cc.compile(batch, target);
  const std::vector<Image> apart = cc.compile_each(batch, target);
  ASSERT_EQ(apart.size(), 4u);
  CodeArena arena;
  const std::vector<float> x = inputs(1003);
  std::vector<float> want(x.size());
  run_bias_relu_reference(x.data(), want.data(), 1.7f, 0.25f, 1003);
  EXPECT_TRUE(same_bits(run(fn(arena, together, "k_a1"), x, 1.7f), want)) << cc.name();
  EXPECT_TRUE(same_bits(run(fn(arena, apart[0], "k_a1"), x, 1.7f), want)) << cc.name();
  run_bias_relu_reference(x.data(), want.data(), 1.7f, -3.0f, 1003);
  EXPECT_TRUE(same_bits(run(fn(arena, apart[3], "k_d4"), x, 1.7f), want)) << cc.name();
  EXPECT_TRUE(same_bits(run(fn(arena, apart[1], "k_b2"), x, 1.7f), run(fn(arena, together, "k_b2"), x, 1.7f)));
  EXPECT_EQ(together.entries.size(), 4u);
  EXPECT_LT(apart[0].bytes.size(), together.bytes.size());

  char from[9] = "ABCDEFGH", to[17] = {};
  const uint64_t words[] = {uint64_t(from), uint64_t(to), 'z'};
  fn(arena, apart[2], "k_c3")(words, 0, 8);
  EXPECT_STREQ(to, "zzzzzzzzABCDEFGH");
}

TEST(SpawnCc, CompilesAndRuns) {
  for (const auto& cc : spawned())
    for (int bits : widths()) expect_right_and_equal(*cc, bits);
}

TEST(SpawnCc, CompilersAgreeBitForBit) {
  const auto all = spawned();
  const std::vector<float> x = inputs(1003);
  for (int bits : widths()) {
    const KernelText text = mixed("k_b2", bits);
    std::vector<float> first;
    for (const auto& cc : all) {
      CodeArena arena;
      const std::vector<float> y = run(fn(arena, cc->compile({&text, 1}, target_with_bits(bits)), "k_b2"), x, 1);
      if (first.empty()) first = y;
      EXPECT_TRUE(same_bits(first, y)) << cc->name();
    }
  }
}

TEST(SpawnCc, IsDeterministic) {
  for (const auto& cc : spawned()) {
    const std::string source = batch_source(std::vector{mixed("k_b2", 256), bias_relu("k_a1", 256)});
    EXPECT_EQ(cc->compile_object(source, target_with_bits(256)), cc->compile_object(source, target_with_bits(256)));
  }
}

TEST(SpawnCc, BadTextGivesTheLog) {
  for (const auto& cc : spawned()) {
    const KernelText bad[] = {bias_relu("k_a1", 256), {"void k_b2(const unsigned long long* w, long long b, long long e) { frob }", "k_b2"}};
    try {
      cc->compile(bad, target_with_bits(256));
      FAIL() << cc->name();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::internal);
      EXPECT_NE(std::string(e.what()).find("k_b2:1:"), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("frob"), std::string::npos) << e.what();
    }
  }
}

TEST(SpawnCc, HasNoHeaders) {
  for (const auto& cc : spawned()) {
    const KernelText bad{"#include <stdio.h>\n" + copies("k_c3").source, "k_c3"};
    EXPECT_THROW(cc->compile({&bad, 1}, target_with_bits(256)), Error) << cc->name();
  }
}

TEST(SpawnCc, RefusesForeignCallsAndWritableData) {
  const std::string signature = "(const unsigned long long* w, long long b, long long e)";
  const std::pair<std::string, const char*> cases[] = {
      {"int system(const char*);\nvoid k_a1" + signature + " { system((const char*)w[0]); }", "'system'"},
      {"static int count; void k_a1" + signature + " { *(int*)w[0] = ++count; }", "not constant"},
      {"int shared_count; void k_a1" + signature + " { ++shared_count; }", "a kernel"},
      {"void k_a2" + signature + " {}", "'k_a1'"}};
  for (const auto& cc : spawned())
    for (const auto& [source, part] : cases) {
      const KernelText text{source, "k_a1"};
      try {
        cc->compile({&text, 1}, target_with_bits(256));
        ADD_FAILURE() << source;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::bad_file);
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
      }
    }
}

TEST(SpawnCc, IsStoppedAfterItsTime) {
  // A "compiler" that hangs: a script in a private folder.
  char folder[] = "/tmp/phlox-test-XXXXXX";
  ASSERT_TRUE(::mkdtemp(folder));
  const std::string script = std::string(folder) + "/cc";
  FILE* f = std::fopen(script.c_str(), "w");
  std::fputs("#!/bin/sh\nsleep 100\n", f);
  std::fclose(f);
  ASSERT_EQ(::system(("chmod +x " + script).c_str()), 0);
  auto cc = SpawnCc::find(script);
  ASSERT_TRUE(cc);
  cc->set_time_limit(1);
  try {
    cc->compile_object("", Target{});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("was stopped after 1 s"), std::string::npos) << e.what();
  }
  ::remove(script.c_str());
  ::remove(folder);
}

TEST(SpawnCc, MissingProgram) {
  EXPECT_EQ(SpawnCc::find("no-such-compiler"), nullptr);
  EXPECT_EQ(SpawnCc::find("/etc/passwd"), nullptr);
  ::setenv("PHLOX_CC", "no-such-compiler", 1);
  std::string why;
  EXPECT_EQ(SpawnCc::find_default(why), nullptr);
  EXPECT_EQ(why, "PHLOX_CC names no program: 'no-such-compiler'");
  ::unsetenv("PHLOX_CC");
}

TEST(Compiler, RefusesOddNames) {
  for (const char* name : {"k_", "main", "k_A1", "k_0;system", "k_0\n", "k_0\"", ""})
    EXPECT_THROW(batch_source(std::vector{KernelText{"", name}}), InternalError) << name;
  Target t;
  t.arch = "x86-64-v3 -fplugin=evil.so";
  EXPECT_THROW(target_options(t), Error);
  t.arch = "x86-64-v3";
  t.features = {"+avx2;rm"};
  EXPECT_THROW(target_options(t), Error);
  t.features = {"avx2"};
  EXPECT_THROW(target_options(t), Error);
}

}  // namespace
