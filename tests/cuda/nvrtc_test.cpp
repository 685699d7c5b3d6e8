#include "toolchain/nvrtc.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "kernels.h"

namespace phlox {
namespace {

Nvrtc* compiler() {
  std::string why;
  Nvrtc* c = Nvrtc::find(why);
  EXPECT_EQ(c == nullptr, !why.empty());
  return c;
}
Target chip(const char* arch) {
  Target t;
  t.kind = DeviceKind::cuda;
  t.arch = arch;
  return t;
}
bool contains(const std::vector<std::byte>& bytes, std::string_view text) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).find(text) !=
         std::string_view::npos;
}

}  // namespace

TEST(Nvrtc, compiles_a_batch_to_a_cubin) {
  Nvrtc* c = compiler();
  if (!c) GTEST_SKIP() << "no NVRTC here";
  const KernelText batch[] = {add_kernel(), fill_kernel()};
  const Image image = c->compile(batch, chip("sm_90a"));
  ASSERT_GT(image.bytes.size(), 64u);
  EXPECT_EQ(std::memcmp(image.bytes.data(),
                        "\x7f"
                        "ELF",
                        4),
            0);
  ASSERT_EQ(image.entries.size(), 2u);
  EXPECT_EQ(image.entries[0].name, add_kernel().entry);
  EXPECT_TRUE(contains(image.bytes, add_kernel().entry));
  EXPECT_TRUE(contains(image.bytes, fill_kernel().entry));
  EXPECT_TRUE(image_fault(image).empty());
}

TEST(Nvrtc, compile_each_keeps_order) {
  Nvrtc* c = compiler();
  if (!c) GTEST_SKIP() << "no NVRTC here";
  const KernelText batch[] = {add_kernel(), fill_kernel(), add_kernel()};
  const std::vector<Image> images = c->compile_each(batch, chip("sm_80"));
  ASSERT_EQ(images.size(), 3u);
  EXPECT_EQ(images[1].entries[0].name, fill_kernel().entry);
  EXPECT_EQ(images[0].bytes, images[2].bytes);
  EXPECT_FALSE(contains(images[0].bytes, fill_kernel().entry));
}

TEST(Nvrtc, an_error_has_the_log_and_the_kernel) {
  Nvrtc* c = compiler();
  if (!c) GTEST_SKIP() << "no NVRTC here";
  const KernelText bad[] = {{"extern \"C\" __global__ void k_bad0() {\n  int x = nonsense;\n}\n", "k_bad0"}};
  try {
    c->compile(bad, chip("sm_90a"));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::internal);
    EXPECT_NE(std::string(e.what()).find("k_bad0(2): error: identifier \"nonsense\" is undefined"),
              std::string::npos)
        << e.what();
  }
  EXPECT_THROW(c->compile_each(bad, chip("sm_90a")), Error);
}

TEST(Nvrtc, architectures) {
  Nvrtc* c = compiler();
  if (!c) GTEST_SKIP() << "no NVRTC here";
  EXPECT_EQ(c->code_arch("sm_90a"), "sm_90a");
  EXPECT_EQ(c->code_arch("sm_90"), "sm_90");
  EXPECT_EQ(c->code_arch("sm_999a").compare(0, 8, "compute_"), 0);
  EXPECT_THROW(c->code_arch("sm_20"), Error);
  EXPECT_THROW(c->code_arch("x86-64-v3"), Error);
  EXPECT_THROW(c->code_arch("sm_90a --bad"), Error);
  const KernelText batch[] = {fill_kernel()};
  const Image ptx = c->compile(batch, chip("sm_999a"));
  EXPECT_TRUE(contains(ptx.bytes, ".visible .entry k_f111"));
  EXPECT_EQ(ptx.bytes.back(), std::byte{0});
}

TEST(Nvrtc, words_by_value_give_global_accesses) {
  Nvrtc* c = compiler();
  if (!c) GTEST_SKIP() << "no NVRTC here";
  const KernelText batch[] = {add_kernel()};
  const Image ptx = c->compile(batch, chip("sm_999"));
  EXPECT_TRUE(contains(ptx.bytes, "ld.global"));
  EXPECT_TRUE(contains(ptx.bytes, "st.global"));
  EXPECT_FALSE(contains(ptx.bytes, ".local"));
  // No contraction: the product and the sum stay two operations.
  EXPECT_FALSE(contains(ptx.bytes, "fma.rn"));
  EXPECT_TRUE(contains(ptx.bytes, "mul.rn.f32") || contains(ptx.bytes, "mul.f32"));
}

TEST(Nvrtc, fingerprint_has_version_and_options) {
  Nvrtc* c = compiler();
  if (!c) GTEST_SKIP() << "no NVRTC here";
  EXPECT_NE(c->fingerprint().find(cat("nvrtc ", c->major(), ".", c->minor())), std::string::npos);
  EXPECT_NE(c->fingerprint().find("--fmad=false"), std::string::npos);
}

}  // namespace phlox
