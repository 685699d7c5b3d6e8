// The compilers themselves: the same text through gcc, clang and the plug-in must run and give the same bits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/event.h"
#include "kernels.h"
#include "program/code_arena.h"
#include "toolchain/clang_plugin.h"
#include "toolchain/object_image.h"
#include "toolchain/spawn_cc.h"

using namespace phlox;
using namespace phlox::test;

namespace {

// gcc, clang and the plug-in, as far as they are here.
std::vector<std::unique_ptr<Compiler>> compilers() {
  std::vector<std::unique_ptr<Compiler>> r;
  for (const char* name : {"gcc", "clang-19", "clang"})
    if (auto cc = SpawnCc::find(name)) r.push_back(std::move(cc));
  std::string why;
  if (auto plugin = ClangPlugin::find(why)) r.push_back(std::move(plugin));
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
std::vector<int> widths() {
  return host_target().vector_bits >= 512 ? std::vector{256, 512} : std::vector{256};
}

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
  const KernelText batch[] = {bias_relu("k_a1", bits), mixed("k_b2", bits), copies("k_c3"),
                              bias_relu("k_d4", bits, "-3.0f")};
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
  EXPECT_TRUE(
      same_bits(run(fn(arena, apart[1], "k_b2"), x, 1.7f), run(fn(arena, together, "k_b2"), x, 1.7f)));
  EXPECT_EQ(together.entries.size(), 4u);
  EXPECT_LT(apart[0].bytes.size(), together.bytes.size());

  char from[9] = "ABCDEFGH", to[17] = {};
  const uint64_t words[] = {uint64_t(from), uint64_t(to), 'z'};
  fn(arena, apart[2], "k_c3")(words, 0, 8);
  EXPECT_STREQ(to, "zzzzzzzzABCDEFGH");
}

TEST(Compilers, CompilesAndRuns) {
  for (const auto& cc : compilers())
    for (int bits : widths()) expect_right_and_equal(*cc, bits);
}

TEST(Compilers, CompilersAgreeBitForBit) {
  const auto all = compilers();
  const std::vector<float> x = inputs(1003);
  for (int bits : widths()) {
    const KernelText text = mixed("k_b2", bits);
    std::vector<float> first;
    for (const auto& cc : all) {
      CodeArena arena;
      const std::vector<float> y =
          run(fn(arena, cc->compile({&text, 1}, target_with_bits(bits)), "k_b2"), x, 1);
      if (first.empty()) first = y;
      EXPECT_TRUE(same_bits(first, y)) << cc->name();
    }
  }
}

TEST(Compilers, IsDeterministic) {
  for (const auto& cc : compilers()) {
    const std::string source = batch_source(std::vector{mixed("k_b2", 256), bias_relu("k_a1", 256)});
    const auto object = [&] {
      return static_cast<ObjectCompiler&>(*cc).compile_object(source, target_with_bits(256));
    };
    EXPECT_EQ(object(), object()) << cc->name();
  }
}

TEST(Compilers, BadTextGivesTheLog) {
  for (const auto& cc : compilers()) {
    const KernelText bad[] = {
        bias_relu("k_a1", 256),
        {"void k_b2(const unsigned long long* w, long long b, long long e) { frob }", "k_b2"}};
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

TEST(Compilers, HasNoHeaders) {
  for (const auto& cc : compilers()) {
    const KernelText bad{"#include <stdio.h>\n" + copies("k_c3").source, "k_c3"};
    EXPECT_THROW(cc->compile({&bad, 1}, target_with_bits(256)), Error) << cc->name();
  }
}

TEST(Compilers, RefusesForeignCallsAndWritableData) {
  const std::string signature = "(const unsigned long long* w, long long b, long long e)";
  const std::pair<std::string, const char*> cases[] = {
      {"int system(const char*);\nvoid k_a1" + signature + " { system((const char*)w[0]); }", "'system'"},
      {"static int count; void k_a1" + signature + " { *(int*)w[0] = ++count; }", "not constant"},
      {"int shared_count; void k_a1" + signature + " { ++shared_count; }", "a kernel"},
      {"void k_a2" + signature + " {}", "'k_a1'"}};
  for (const auto& cc : compilers())
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
}

// Sets a variable for the life of the object; null unsets it.
class WithEnv {
 public:
  WithEnv(const char* name, const char* value) : name_(name) {
    if (const char* v = std::getenv(name)) before_ = v, had_ = true;
    set(value);
  }
  ~WithEnv() { set(had_ ? before_.c_str() : nullptr); }

 private:
  void set(const char* v) { v ? ::setenv(name_, v, 1) : ::unsetenv(name_); }
  const char* name_;
  std::string before_;
  bool had_ = false;
};

TEST(Compiler, EnvironmentChooses) {
  std::string why;
  {
    WithEnv off("PHLOX_COMPILER", "off");
    EXPECT_EQ(choose_cpu_compiler(why), nullptr);
    EXPECT_EQ(why, "PHLOX_COMPILER=off");
  }
  {
    WithEnv odd("PHLOX_COMPILER", "tcc");
    EXPECT_THROW(choose_cpu_compiler(why), Error);
  }
  WithEnv no_plugin("PHLOX_COMPILER_PLUGIN", "/no/such/plugin.so");
  {
    WithEnv only("PHLOX_COMPILER", "plugin");
    EXPECT_EQ(choose_cpu_compiler(why), nullptr);
    EXPECT_EQ(why, "PHLOX_COMPILER_PLUGIN names no readable file: '/no/such/plugin.so'");
  }
  WithEnv any("PHLOX_COMPILER", nullptr);
  if (SpawnCc::find("cc")) {
    EXPECT_NE(dynamic_cast<SpawnCc*>(choose_cpu_compiler(why).get()), nullptr);
    ASSERT_FALSE(recent_events().empty());
    EXPECT_NE(recent_events().back().reason.find("takes its place"), std::string::npos);
  }
  WithEnv no_cc("PHLOX_CC", "no-such-compiler");
  EXPECT_EQ(choose_cpu_compiler(why), nullptr);
  EXPECT_EQ(why,
            "PHLOX_COMPILER_PLUGIN names no readable file: '/no/such/plugin.so', and PHLOX_CC names no "
            "program: 'no-such-compiler'");
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

std::unique_ptr<ClangPlugin> plugin() {
  std::string why;
  return ClangPlugin::find(why);
}
#define NEEDS_PLUGIN(p)    \
  const auto p = plugin(); \
  if (!p) GTEST_SKIP() << "no compiler plug-in"

TEST(ClangPlugin, FingerprintNeedsNoLoading) {
  NEEDS_PLUGIN(p);
  EXPECT_EQ(p->fingerprint(), cat("clang-plugin 1 ", elf_build_id(p->path())));
  EXPECT_EQ(elf_build_id(p->path()).size(), 40u);
  EXPECT_EQ(p->times().open_us, 0u);
}

TEST(ClangPlugin, BrokenFilesAreRefused) {
  EXPECT_EQ(elf_build_id("/no/such/file"), "");
  EXPECT_EQ(elf_build_id("/proc/self/cmdline"), "");
  const char* const before = std::getenv("PHLOX_COMPILER_PLUGIN");
  const std::string restore = before ? before : "";
  char name[] = "/tmp/phlox-test-XXXXXX";
  const int fd = ::mkstemp(name);
  ASSERT_GE(fd, 0);
  ::setenv("PHLOX_COMPILER_PLUGIN", name, 1);
  std::string why;
  EXPECT_EQ(ClangPlugin::find(why), nullptr);
  EXPECT_EQ(why, cat(name, " is no shared library with a build id"));
  // A library that is no plug-in: found by its build id, refused when opened.
  ::setenv("PHLOX_COMPILER_PLUGIN", "/lib/x86_64-linux-gnu/libm.so.6", 1);
  if (auto p = ClangPlugin::find(why)) {
    try {
      p->open();
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::device);
      EXPECT_NE(std::string(e.what()).find("no symbol phlox_compiler_plugin"), std::string::npos) << e.what();
    }
  }
  ::setenv("PHLOX_COMPILER_PLUGIN", "/no/such/plugin.so", 1);
  EXPECT_EQ(ClangPlugin::find(why), nullptr);
  EXPECT_EQ(why, "PHLOX_COMPILER_PLUGIN names no readable file: '/no/such/plugin.so'");
  restore.empty() ? ::unsetenv("PHLOX_COMPILER_PLUGIN")
                  : ::setenv("PHLOX_COMPILER_PLUGIN", restore.c_str(), 1);
  ::close(fd);
  ::unlink(name);
}

TEST(ClangPlugin, ThreadsCompileTogetherAndAgree) {
  NEEDS_PLUGIN(p);
  const Target target = target_with_bits(256);
  const std::string good = batch_source(std::vector{mixed("k_b2", 256), bias_relu("k_a1", 256)});
  const std::vector<std::byte> want = p->compile_object(good, target);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        if ((i + t) % 5 == 0)
          EXPECT_THROW(p->compile_object("int x = frob;", target), Error);
        else
          EXPECT_EQ(p->compile_object(good, target), want);
      }
    });
  for (auto& t : threads) t.join();
}

// Texts that make compilers recurse: refused or compiled, never a crash.
TEST(ClangPlugin, SurvivesExtremeText) {
  NEEDS_PLUGIN(p);
  const Target target = target_with_bits(256);
  const auto compiles = [&](const std::string& body) {
    try {
      p->compile_object("void k_a1(float* x) { " + body + " }", target);
      return true;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::internal);
      return false;
    }
  };
  EXPECT_FALSE(compiles("x[0] = " + std::string(20000, '(') + "1" + std::string(20000, ')') + ";"));
  std::string sum = "x[0] = x[1]";
  for (int i = 0; i < 20000; ++i) sum += "+x[1]";
  EXPECT_TRUE(compiles(sum + ";"));
  std::string nest;
  for (int i = 0; i < 900; ++i) nest += "if (x[0] > " + std::to_string(i) + ") {";
  EXPECT_TRUE(compiles(nest + "x[1] = 2;" + std::string(900, '}')));
  EXPECT_FALSE(compiles(std::string(100000, '{')));
  EXPECT_FALSE(compiles(std::string("x[0] = 1;\0 garbage", 18)));
  EXPECT_FALSE(compiles("asm volatile(\"frobnicate %rax\");"));
  EXPECT_FALSE(compiles("__builtin_ia32_tdpbssd(1, 2, 3);"));
}

TEST(ClangPlugin, SeesNoFiles) {
  NEEDS_PLUGIN(p);
  for (const char* text :
       {"#include \"/etc/passwd\"\n", "#include <stddef.h>\n", "#include \"kernel.c\"\n#error\n"})
    EXPECT_THROW(p->compile_object(text, target_with_bits(256)), Error) << text;
}

// The text says 512 bits in its body only; it must not be split into halves.
TEST(ClangPlugin, UsesWholeVectors) {
  NEEDS_PLUGIN(p);
  Target t;
  t.arch = "x86-64-v4";
  t.vector_bits = 512;
  const Image image = p->compile(std::vector{bias_relu("k_a1", 512)}, t);
  int evex512 = 0, evex256 = 0;
  for (size_t i = 0; i + 6 < image.bytes.size(); ++i) {
    if (image.bytes[i] != std::byte{0x62}) continue;
    const int ll = int(image.bytes[i + 3]) >> 5 & 3;
    evex512 += ll == 2;
    evex256 += ll == 1;
  }
  EXPECT_GE(evex512, 4);
  EXPECT_GT(evex512, evex256);
}

// Tiles are clang-only text. Running it also shows that the process was granted their state.
TEST(ClangPlugin, RunsTiles) {
  NEEDS_PLUGIN(p);
  const Target t = host_target();
  if (!t.has("amx-int8")) GTEST_SKIP() << "no AMX here";
  const KernelText text{
      "void k_a1(const unsigned long long* words, long long begin, long long end) {\n"
      "  unsigned char config[64] = {1};\n"
      "  unsigned short* bytes = (unsigned short*)(config + 16);\n"
      "  for (int i = 0; i < 3; ++i) { bytes[i] = 64; config[48 + i] = 16; }\n"
      "  __builtin_ia32_tile_loadconfig(config);\n"
      "  __builtin_ia32_tilezero(0);\n"
      "  __builtin_ia32_tileloadd64(1, (const void*)words[0], 64);\n"
      "  __builtin_ia32_tileloadd64(2, (const void*)words[1], 64);\n"
      "  __builtin_ia32_tdpbssd(0, 1, 2);\n"
      "  __builtin_ia32_tilestored64(0, (void*)words[2], 64);\n"
      "  __builtin_ia32_tilerelease();\n}\n",
      "k_a1"};
  int8_t a[16][64], b[16][64];
  int32_t c[16][16] = {};
  for (int i = 0; i < 16 * 64; ++i) (&a[0][0])[i] = int8_t(i * 7), (&b[0][0])[i] = int8_t(i * 5 + 3);
  const uint64_t words[] = {uint64_t(a), uint64_t(b), uint64_t(c)};
  CodeArena arena;
  fn(arena, p->compile({&text, 1}, t), "k_a1")(words, 0, 1);
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 16; ++n) {
      int32_t want = 0;
      for (int k = 0; k < 64; ++k) want += a[m][k] * b[k / 4][n * 4 + k % 4];
      ASSERT_EQ(c[m][n], want) << m << "," << n;
    }
}

}  // namespace
