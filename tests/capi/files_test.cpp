// Tensors that come from a file are its pages: what that promises to users.
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <phlox/io.hpp>
#include <sstream>

using namespace phlox;

namespace {
struct File {
  std::string path = "/tmp/phlox_files_test." + std::to_string(::getpid()) + ".safetensors";
  ~File() { ::unlink(path.c_str()); }
  std::string contents() const {
    std::ifstream in(path, std::ios::binary);
    std::stringstream s;
    s << in.rdbuf();
    return s.str();
  }
};
StateDict example() {
  StateDict d;
  d.set("w", arange(6, f32).view({2, 3}));
  d.set("flags", tensor({1, 0, 3}).to(u8));  // an odd size: what follows it is not aligned for its dtype
  d.set("half", ones({3}, f16));
  return d;
}
}  // namespace

TEST(Files, loaded_tensors_change_in_memory_only) {
  const File file;
  save_safetensors(file.path, example());
  const std::string before = file.contents();
  LoadedTensors loaded = load_safetensors(file.path);
  Tensor w = *loaded.tensors.find("w");
  w.add_(1.0);
  EXPECT_EQ(w.to_vector<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(file.contents(), before);
  EXPECT_EQ(load_safetensors(file.path).tensors.find("w")->to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
}

TEST(Files, loaded_tensors_outlive_the_name_and_the_map) {
  Tensor w, half;
  {
    const File file;
    save_safetensors(file.path, example());
    LoadedTensors loaded = load_safetensors(file.path);
    w = *loaded.tensors.find("w");
    half = *loaded.tensors.find("half");
    save_safetensors(file.path, StateDict());  // replaced, and then removed
  }
  EXPECT_EQ(w.mul(2.0).to_vector<float>(), (std::vector<float>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(half.to(f32).to_vector<float>(), (std::vector<float>{1, 1, 1}));
}
