// The object linker under hostile bytes: whatever is changed, it throws Error or gives an image that passes
// its checks.
#include "toolchain/object_image.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "kernels.h"
#include "toolchain/spawn_cc.h"

using namespace phlox;
using namespace phlox::test;

namespace {

const std::vector<std::byte>& sample_object() {
  static const std::vector<std::byte> object = [] {
    std::string why;
    auto cc = SpawnCc::find_default(why);
    Target t;
    t.arch = "x86-64-v3";
    return cc ? cc->compile_object(
                    batch_source(std::vector{mixed("k_b2", 256), copies("k_c3"), bias_relu("k_a1", 256)}), t)
              : std::vector<std::byte>{};
  }();
  return object;
}

// True when it was refused.
bool refused(std::vector<std::byte> bytes) {
  // An exact heap copy, so that a sanitizer sees every step outside.
  try {
    const ElfObject object(bytes);
    for (const std::string& name : object.functions()) {
      const std::string_view entry = name;
      const Image image = object.link({&entry, 1});
      EXPECT_EQ(image_fault(image), "");
    }
    for (std::string_view entry : {"k_b2", "k_c3", "k_a1"})
      EXPECT_EQ(image_fault(object.link({&entry, 1})), "");
    return false;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_file);
    return true;
  }
}

class ElfObjectTest : public testing::Test {
 protected:
  void SetUp() override {
    if (sample_object().empty()) GTEST_SKIP() << "no C compiler";
  }
};

TEST_F(ElfObjectTest, AcceptsTheSample) { EXPECT_FALSE(refused(sample_object())); }

TEST_F(ElfObjectTest, EveryTruncation) {
  for (size_t n = 0; n < sample_object().size(); n += n < 64 ? 1 : 7) {
    std::vector<std::byte> cut(sample_object().begin(), sample_object().begin() + long(n));
    cut.shrink_to_fit();
    EXPECT_TRUE(refused(cut)) << n;
  }
}

TEST_F(ElfObjectTest, ByteMutations) {
  uint64_t seed = 12345;
  const auto next = [&] { return seed = mix64(seed + 0x9e3779b97f4a7c15ull); };
  int refusals = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = sample_object();
    for (int k = int(next() % 4); k >= 0; --k) bytes[next() % bytes.size()] = std::byte(next());
    refusals += refused(std::move(bytes));
  }
  EXPECT_GT(refusals, 0);
}

// Edits of single fields to values at the borders: section headers, symbols, relocations.
TEST_F(ElfObjectTest, FieldMutations) {
  const std::vector<std::byte>& base = sample_object();
  Elf64_Ehdr h;
  std::memcpy(&h, base.data(), sizeof h);
  const uint64_t values[] = {0,
                             1,
                             2,
                             3,
                             7,
                             8,
                             63,
                             0x7f,
                             0xff,
                             0x100,
                             0xfff1,
                             0xfff2,
                             0xffff,
                             0x7fffffff,
                             0x80000000,
                             0xffffffff,
                             base.size() - 1,
                             base.size(),
                             base.size() + 1,
                             1ull << 40,
                             ~0ull >> 1,
                             ~0ull - 7,
                             ~0ull};
  std::vector<size_t> words;
  for (size_t at = 0; at < sizeof h; at += 4) words.push_back(at);
  for (size_t at = h.e_shoff; at + 8 <= base.size(); at += 4) words.push_back(at);
  for (size_t i = 0; i < h.e_shnum; ++i) {
    Elf64_Shdr s;
    std::memcpy(&s, base.data() + h.e_shoff + i * sizeof s, sizeof s);
    if (s.sh_type != SHT_SYMTAB && s.sh_type != SHT_RELA) continue;
    for (size_t at = s.sh_offset; at + 8 <= s.sh_offset + s.sh_size; at += 4) words.push_back(at);
  }
  for (size_t at : words)
    for (uint64_t v : values)
      for (size_t width : {2, 4, 8}) {
        if (at + width > base.size()) continue;
        std::vector<std::byte> bytes = base;
        std::memcpy(bytes.data() + at, &v, width);
        refused(std::move(bytes));
      }
}

TEST_F(ElfObjectTest, SaysWhatIsWrong) {
  const auto message = [](std::vector<std::byte> bytes) {
    try {
      ElfObject o(bytes);
      return std::string();
    } catch (const Error& e) {
      return std::string(e.what());
    }
  };
  std::vector<std::byte> bytes = sample_object();
  bytes[0] = std::byte{0};
  EXPECT_EQ(message(bytes), "link kernels: not an ELF object");
  bytes = sample_object();
  bytes[18] = std::byte{183};
  EXPECT_EQ(message(bytes), "link kernels: not a relocatable x86-64 object");
  EXPECT_EQ(message({}), "link kernels: the object is truncated");
}

}  // namespace
