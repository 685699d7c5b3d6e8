// The database of measurements on disk: what is put is found by its whole key; nothing that does not hold is.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "eager/tuned.h"
#include "native/tune_store.h"

namespace phlox {
namespace {

TEST(Tuned, FoundByKeyAndSizeAndRefusedWhenDamaged) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("phlox_tuned_" + std::to_string(getpid()));
  setenv("PHLOX_CACHE_DIR", folder.c_str(), 1);
  lend_tune_store();
  struct Value { uint64_t data[8]; } in{}, out{};
  for (uint64_t i = 0; i < 8; ++i) in.data[i] = i * 0x0123456789abcdefull;
  const auto bytes = [](Value& v) { return std::as_writable_bytes(std::span(&v, 1)); };
  EXPECT_FALSE(find_tuned("matmul on a GPU: 1 2 3", bytes(out)));
  put_tuned("matmul on a GPU: 1 2 3", bytes(in));
  ASSERT_TRUE(find_tuned("matmul on a GPU: 1 2 3", bytes(out)));
  EXPECT_EQ(std::memcmp(&in, &out, sizeof in), 0);
  EXPECT_FALSE(find_tuned("matmul on another GPU: 1 2 3", bytes(out)));
  EXPECT_FALSE(find_tuned("matmul on a GPU: 1 2 3", bytes(out).first(8))) << "of another size";
  int files = 0;
  for (const auto& f : std::filesystem::recursive_directory_iterator(folder / "tune")) {
    if (!f.is_regular_file()) continue;
    ++files;
    std::fstream s(f.path(), std::ios::in | std::ios::out | std::ios::binary);
    s.seekp(-5, std::ios::end);
    s.put('x');
  }
  EXPECT_GE(files, 1);
  EXPECT_FALSE(find_tuned("matmul on a GPU: 1 2 3", bytes(out))) << "damaged";
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace phlox
