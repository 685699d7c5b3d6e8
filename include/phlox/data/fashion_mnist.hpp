// Files in the IDX format, plain or gzip, and Fashion-MNIST as Debian's dataset-fashion-mnist installs it.
// Programs that include this link zlib (-lz). Refuses, with the path in the message: files that cannot be
// read, that are no IDX files of bytes, that end early or go on after their data, and sizes above 2^31
// elements.
#pragma once
#include <zlib.h>

#include "phlox/data/dataset.hpp"

namespace phlox {
inline namespace v1 {
namespace data {

// A tensor of uint8.
inline Tensor read_idx(const std::string& path) {
  struct Close {
    void operator()(gzFile_s* f) const { gzclose(f); }
  };
  const std::unique_ptr<gzFile_s, Close> file(gzopen(path.c_str(), "rb"));
  if (!file) throw Error(ErrorCode::io, "read_idx", "the file cannot be opened", path);
  auto bad = [&](const char* fact) {
    return Error(ErrorCode::bad_file, "read_idx", fact, path, "an IDX file of unsigned bytes");
  };
  unsigned char head[4];
  if (gzread(file.get(), head, 4) != 4) throw bad("the file ends in its header");
  if (head[0] || head[1] || head[2] != 8 || head[3] < 1 || head[3] > 8)
    throw bad("the header is another one");
  std::vector<int64_t> sizes;
  int64_t bytes = 1;
  for (int d = 0; d < head[3]; ++d) {
    unsigned char n[4];
    if (gzread(file.get(), n, 4) != 4) throw bad("the file ends in its header");
    sizes.push_back(int64_t(n[0]) << 24 | int64_t(n[1]) << 16 | int64_t(n[2]) << 8 | n[3]);
    if (sizes.back() > 0 && bytes > (int64_t(1) << 31) / sizes.back()) throw bad("the sizes are absurd");
    bytes *= sizes.back();
  }
  phlox_tensor* h;
  v1::detail::check(phlox_tensor_empty(PHLOX_U8, sizes.data(), int32_t(sizes.size()), Device().raw(), &h));
  const Tensor t = Tensor::adopt(h);
  char* to = static_cast<char*>(t.data_ptr());
  for (int64_t at = 0; at < bytes;) {
    const int n = gzread(file.get(), to + at, unsigned(std::min<int64_t>(bytes - at, 1 << 24)));
    if (n <= 0) throw bad("the file ends early");
    at += n;
  }
  char more;
  if (gzread(file.get(), &more, 1) != 0) throw bad("the file goes on after its data, or is damaged");
  return t;
}

struct LabelledImages {
  Tensor images;  // uint8 [n, 28, 28]
  Tensor labels;  // int64 [n], 0 to 9
};
inline const char* const fashion_mnist_classes[10] = {
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"};
inline LabelledImages fashion_mnist(bool train,
                                    const std::string& folder = "/usr/share/datasets/fashion-mnist") {
  const std::string prefix = folder + (train ? "/train" : "/t10k");
  const Tensor images = read_idx(prefix + "-images-idx3-ubyte.gz"),
               bytes = read_idx(prefix + "-labels-idx1-ubyte.gz");
  if (images.dim() != 3 || bytes.dim() != 1 || images.size(0) != bytes.size(0))
    throw Error(ErrorCode::bad_file, "fashion_mnist", "images and labels do not belong together",
                images.describe() + " and " + bytes.describe());
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < bytes.numel(); ++i) labels.push_back(bytes.data<uint8_t>()[i]);
  return {images, from_data(labels.data(), int64_t(labels.size()))};
}

}  // namespace data
}  // namespace v1
}  // namespace phlox
