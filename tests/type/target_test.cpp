#include "type/target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

using namespace phlox;

namespace {

class TargetTest : public testing::Test {
 protected:
  void SetUp() override { ::unsetenv("PHLOX_CPU"); }
  void TearDown() override { ::unsetenv("PHLOX_CPU"); }
};

TEST_F(TargetTest, HostIsConsistent) {
  const Target t = host_target();
  EXPECT_EQ(t.kind, DeviceKind::cpu);
  EXPECT_TRUE(std::is_sorted(t.features.begin(), t.features.end()));
  EXPECT_GE(t.threads, 1);
  EXPECT_GT(t.l1_bytes, 0);
  EXPECT_GE(t.l2_bytes, t.l1_bytes);
  if (t.arch == "x86-64-v4") {
    EXPECT_EQ(t.vector_bits, 512);
  }
  if (t.arch == "x86-64-v3") {
    EXPECT_EQ(t.vector_bits, 256);
  }
#if defined(__x86_64__)
  EXPECT_EQ(t.has("avx2"), bool(__builtin_cpu_supports("avx2")));
  EXPECT_EQ(t.has("avx512f"), bool(__builtin_cpu_supports("avx512f")));
  EXPECT_EQ(t.has("avx512bf16"), bool(__builtin_cpu_supports("avx512bf16")));
  EXPECT_EQ(t.has("avx512vnni"), bool(__builtin_cpu_supports("avx512vnni")));
#endif
}

TEST_F(TargetTest, NarrowsToExactlyTheLevel) {
  if (!host_target().has("avx2")) GTEST_SKIP() << "this machine is below x86-64-v3";
  ::setenv("PHLOX_CPU", "v3", 1);
  const Target t = host_target();
  EXPECT_EQ(t.arch, "x86-64-v3");
  EXPECT_EQ(t.vector_bits, 256);
  EXPECT_TRUE(t.has("fma"));
  EXPECT_FALSE(t.has("avx512f"));
  EXPECT_FALSE(t.has("avxvnni"));
  Target plain;
  plain.arch = "x86-64-v3";
  for (const std::string& f : t.features) EXPECT_TRUE(plain.has(f.substr(1))) << f;
}

TEST_F(TargetTest, RefusesUnknownLevel) {
  ::setenv("PHLOX_CPU", "v9", 1);
  try {
    host_target();
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(
        e.what(),
        "PHLOX_CPU: unknown level; got 'v9'; expected v3 or v4; unset it to use all of this machine");
  }
}

TEST_F(TargetTest, FeaturesFollowTheLevelOrTheList) {
  Target t;
  t.arch = "x86-64-v4";
  EXPECT_TRUE(t.has("avx512f"));
  EXPECT_TRUE(t.has("avx2"));
  EXPECT_FALSE(t.has("avx512bf16"));
  t.features = {"+avx512bf16", "-avx512f"};
  EXPECT_TRUE(t.has("avx512bf16"));
  EXPECT_FALSE(t.has("avx512f"));
  EXPECT_FALSE(t.has("nonsense"));
}

TEST_F(TargetTest, TextIsCanonical) {
  Target t;
  t.arch = "x86-64-v4";
  t.features = {"+b", "+a"};
  t.vector_bits = 512;
  t.threads = 2;
  EXPECT_EQ(code_target_text(t), "cpu x86-64-v4 +a,+b v512");
  EXPECT_EQ(target_text(t), "cpu x86-64-v4 +a,+b v512 threads=2 l1=32768 l2=524288 l3=8388608");
  t.features.clear();
  EXPECT_EQ(code_target_text(t), "cpu x86-64-v4 - v512");
}

TEST_F(TargetTest, LevelIsWhatAllFeaturesGive) {
  Target t;
  for (const auto& [arch, level] : {std::pair("x86-64-v4", 4),
                                    {"x86-64-v3", 3},
                                    {"x86-64-v2", 2},
                                    {"x86-64", 1},
                                    {"sm_90a", 0},
                                    {"", 0}}) {
    t.arch = arch;
    EXPECT_EQ(cpu_level(t), level) << arch;
  }
  t.arch = "x86-64-v4";
  t.features = {"-avx512bw"};
  EXPECT_EQ(cpu_level(t), 3);
  t.kind = DeviceKind::cuda;
  EXPECT_EQ(cpu_level(t), 0);
  const Target host = host_target();
  if (host.arch == "x86-64-v4") {
    EXPECT_EQ(cpu_level(host), 4);
  }
}

}  // namespace
